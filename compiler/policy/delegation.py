"""What a directory's policies may do, as its `lockgate.toml` and those above it say.

Every file on the way holds, so an inner one can only narrow. Knows policies and the keys of `[delegate]`;
must never know how the files were found.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable
from pathlib import Path

from lockgate.stdlib_bpf.labels import HOST, WORKLOAD, LabelTest, Selector
from lockgate.stdlib_bpf.state.cgroups import ROOT, normal
from lockgate.stdlib_bpf.state.devices import is_pattern

from .. import errors
from ..diagnostics import Sink
from ..source import Source, Span
from ..syntax import tree as t
from .files import LIBRARY
from .imports import Program
from .model import Chain
from .selectors import selector
from .settings import Settings
from .targets import namespace_of

# What `hooks` calls policies for labels, failsafes and services.
ENDPOINTS, FAILSAFE, SERVICE = "endpoint", "failsafe", "balance"


def check(settings: Iterable[Settings], program: Program, chains: Iterable[Chain], sink: Sink) -> None:
    """Complain about all that is outside of what the settings allow."""
    listed = tuple(chains)
    for each in settings:
        judge = _Delegate(each, sink)
        for module in program.modules:
            judge.imports(module, program)
        for decl in program.main.decls:
            if isinstance(decl, t.Policy) and isinstance(decl.scope, t.Scope):
                judge.policy(decl, decl.scope, [c for c in listed if c.policy == decl.name.text])
            elif isinstance(decl, t.Policy) and isinstance(decl.scope, t.EndpointScope):
                judge.for_endpoints(decl, decl.scope, [c for c in listed if c.sections])
            elif isinstance(decl, t.Failsafe):
                judge.failsafe(decl)
            elif isinstance(decl, t.Balance):
                judge.service(decl)


class _Delegate:
    def __init__(self, settings: Settings, sink: Sink) -> None:
        self.settings, self.table, self.sink = settings, settings.delegate, sink

    def policy(self, policy: t.Policy, scope: t.Scope, chains: list[Chain]) -> None:
        self._allowed("hooks", scope.hook.text, scope.hook.span, "at this hook")
        if scope.selector is not None:
            self._selects(selector(scope.selector), scope.span)
        kind = "interfaces" if scope.kind == "interface" else "cgroups"
        for target in dict.fromkeys(name for chain in chains for name in chain.targets):
            self._allowed(kind, target, _target(scope, target), f"at `{target}`")
        self._owner(policy)
        for chain in chains:
            self._allowed("actions", chain.default, chain.default_span or chain.span, f"`{chain.default}`")
            home = namespace_of(chain.targets[0]) if chain.targets else ""
            for rule in chain.rules:
                self._allowed("actions", rule.verdict, rule.span, f"`{rule.verdict}`")
                for device in rule.effects.into:
                    name = f"{home}/{device}" if home else device
                    self._allowed("interfaces", name, rule.span, f"that sends packets to `{name}`")

    def _owner(self, policy: t.Policy) -> None:
        owner = _said(policy, "owner")
        if isinstance(owner, t.Text):
            self._allowed("owners", owner.text, policy.name.span, f"of the owner `{owner.text}`")
        elif self.table.get("must-own"):
            self._refuse("must-own", policy.name.span, "without an owner")

    def for_endpoints(self, policy: t.Policy, scope: t.EndpointScope, chains: list[Chain]) -> None:
        """A policy for labels: its tier, whom it selects, and what it does to them."""
        self._allowed("hooks", ENDPOINTS, scope.span, "for endpoints")
        self._owner(policy)
        tier = _said(policy, "tier")
        name, span = ("", policy.name.span) if tier is None else (tier.span.text, tier.span)
        self._allowed("tiers", name, span, f"in tier `{name}`" if name else "without a tier")
        self._selects(selector(scope.selector, HOST if scope.hosts else WORKLOAD), scope.span)
        default = _said(policy, "default")
        if default is not None:
            self._allowed("actions", default.span.text, default.span, f"`{default.span.text}`")
        for chain in chains:
            for section in chain.sections:
                written = chain.rules[section.first : section.last] if section.span == policy.span else ()
                for rule in written:
                    if rule.stands_for is None:
                        self._allowed("actions", rule.verdict, rule.span, f"`{rule.verdict}`")

    def _selects(self, chosen: Selector, span: Span) -> None:
        wanted = self.settings.must_select
        if wanted is not None and not _within(chosen, wanted):
            self._refuse("must-select", span, f"for others than `{wanted.text}`")

    def failsafe(self, failsafe: t.Failsafe) -> None:
        """A failsafe is before all policies, so it is like a hook of its own."""
        place = failsafe.selector.span
        head = Span(place.source, failsafe.span.start, place.end)
        self._allowed("hooks", FAILSAFE, head, "that is a failsafe")

    def service(self, service: t.Balance) -> None:
        """A service is like a hook of its own, too, for the cgroups whose calls it takes."""
        name = service.name.span
        self._allowed("hooks", SERVICE, name, "that is a service")
        for path, span in [(path.text, path.span) for path in service.home] or [(ROOT, name)]:
            self._allowed("cgroups", normal(path), span, f"for the cgroup `{path}`")
        owners = [i.value for i in service.items if isinstance(i, t.Attribute) and i.key == "owner"]
        for owner in owners:
            if isinstance(owner, t.Text):
                self._allowed("owners", owner.text, owner.span, f"of the owner `{owner.text}`")
        if self.table.get("must-own") and not owners:
            self._refuse("must-own", name, "without an owner")

    def imports(self, module: t.Module, program: Program) -> None:
        """Imports written in files that lie in the directory or below."""
        if "imports" not in self.table or not self._holds_for(module.source):
            return
        for decl in module.decls:
            target = program.imported.get(decl) if isinstance(decl, t.Import) else None
            if isinstance(decl, t.Import) and target is not None:
                name = self._seen_from_here(target.source)
                self._allowed("imports", name, decl.path.span, f"with an import of `{name}`")

    def _holds_for(self, source: Source) -> bool:
        return source.path is not None and self.settings.folder in source.path.absolute().parents

    def _seen_from_here(self, source: Source) -> str:
        """A file's name as the patterns have it: relative to the settings' directory."""
        if source.name.startswith(LIBRARY) or source.path is None:
            return source.name
        return Path(os.path.relpath(source.path.absolute(), self.settings.folder)).as_posix()

    def _allowed(self, key: str, value: str, span: Span, what: str) -> None:
        patterns = self.table.get(key)
        if patterns is None:
            return
        if key == "imports":
            patterns = [posixpath.normpath(pattern) for pattern in patterns]
        fits = _covers if key == "interfaces" and is_pattern(value) else _fits
        if not any(fits(value, pattern) for pattern in patterns):
            self._refuse(key, span, what)

    def _refuse(self, key: str, span: Span, what: str) -> None:
        self.sink.add(errors.NotDelegated(what, span, key, self.settings.line(key)).diagnostic())


def _said(policy: t.Policy, key: str) -> t.Name | t.Text | t.Number | None:
    """The value of a policy's attribute."""
    return next((i.value for i in policy.items if isinstance(i, t.Attribute) and i.key == key), None)


def _within(chosen: Selector, wanted: Selector) -> bool:
    """Whether a selector surely takes nobody that the other one does not take."""
    return chosen.kind == wanted.kind and all(
        any(_implies(test, other) for test in chosen.tests) for other in wanted.tests
    )


def _implies(test: LabelTest, other: LabelTest) -> bool:
    if (test.key, test.of_namespace) != (other.key, other.of_namespace):
        return False
    if test.negated or not test.values:
        return test == other
    if other.negated:
        return bool(other.values) and not set(test.values) & set(other.values)
    return not other.values or set(test.values) <= set(other.values)


def _fits(value: str, pattern: str) -> bool:
    """Whether a pattern means a value: `*` and `?` stand for anything but `/`, `**` for anything; none of
    them stands for `..`."""
    signs = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = [signs.get(part, re.escape(part)) for part in re.split(r"(\*\*|\*|\?)", pattern)]
    climbs = value.split("/").count("..") > pattern.split("/").count("..")
    return not climbs and re.fullmatch("".join(parts), value) is not None


def _covers(value: str, pattern: str) -> bool:
    """Whether a pattern surely means everything that a pattern of devices may stand for: it is the same, or
    begins like it and leaves the rest open."""
    start = pattern.rstrip("*")
    if value == pattern and "[" not in value:
        return True
    known = re.split(r"[*?\[]", value)[0]
    open_end = pattern != start and not is_pattern(start) and known.startswith(start)
    return open_end and (pattern.endswith("**") or "/" not in value[len(start) :])


def _target(scope: t.Scope, target: str) -> Span:
    """Where a target is written, else the whole of `at … on …`: it comes from a name."""
    return next((i.span for i in scope.targets if isinstance(i, t.Text) and i.text == target), scope.span)
