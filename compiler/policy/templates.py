"""Templates and their uses: the rules that stand in a policy, written there or brought by a template.

A template is checked where it is declared, with any argument its parameters allow: what cannot be right at
any hook is wrong there. Each use is checked again with its own arguments, at its own hook. Knows parameters
and names of rules; must never know what else a policy holds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from lockgate.stdlib_bpf import hooks

from .. import errors
from ..diagnostics import Diagnostic, Label, Severity
from ..source import Span
from ..syntax import tree as t
from . import names as builtin
from .actions import Place
from .cgroups import Cgroups
from .model import Rule
from .networks import Networks
from .parameters import KINDS, SAMPLES, samples
from .resolve import Scope
from .rules import Rules
from .substitute import Bound, substitute
from .targets import Targets
from .traffic import TrafficTypes

MAX_RULES = 10_000  # that one use may bring


@dataclass(frozen=True)
class Sentence:
    """A rule of a policy. `rule`: with parameters replaced; `name`: what it is called in this policy;
    `number`: tells apart unnamed ones of one use; `uses`: the uses of templates that brought it, the
    policy's own first."""

    rule: t.Rule
    name: str | None
    name_span: Span
    number: int = 0
    uses: tuple[t.Use, ...] = ()


class Templates:
    """Checks templates and expands their uses."""

    def __init__(
        self, scope: Scope, networks: Networks, traffic: TrafficTypes, targets: Targets, rules: Rules
    ) -> None:
        self.scope, self.sink, self.rules = scope, scope.sink, rules
        # Says what is wrong with an argument; the other kinds are right as they are written.
        self._evaluate: dict[str, Callable[[Any], object]] = defaultdict(
            lambda: lambda node: node,
            network=networks.value,
            ports=traffic.ports,
            service=lambda name: traffic.kinds([t.Kind(name.span, name)]),
            interface=lambda device: targets.devices((device,)),
        )
        self._sizes: dict[int, int] = {}  # rules it brings, by identity of the declaration; 0: is broken

    def check(self) -> None:
        """Check every template of all files. After all other declarations: what is wrong with those is said
        of them and not of the templates that use them."""
        for module in self.scope.program.modules:
            for decl in module.decls:
                if isinstance(decl, t.Template):
                    self._size(decl)

    # ---- what stands in a policy ----

    def sentences(self, item: t.Rule | t.Use) -> list[Sentence]:
        """A rule itself, or those that a use brings: `LABEL.NAME`, `LABEL.NUMBER`; without a label of the
        use `NAME`, or no name but a number."""
        if isinstance(item, t.Rule):
            label = item.label
            return [Sentence(item, label.text if label else None, label.span if label else item.span)]
        before = self.sink.errors
        found = list(self._expand(item, ()))
        if self.sink.errors > before:
            return []
        where = item.label.span if item.label else item.template.span
        return [
            Sentence(rule, _named(item.label, name, i), where, 0 if item.label or name else i, uses)
            for i, (name, rule, uses) in enumerate(found, 1)
        ]

    def checked(self, sentence: Sentence, place: Place) -> Rule | None:
        """The meaning of a sentence at a place; None after a complaint. Complaints about the body of a
        template show each use that led there."""
        if not sentence.uses:
            return self.rules.rule(sentence.rule, place)
        before = len(self.sink.diagnostics)
        rule = self.rules.rule(sentence.rule, place)
        for diagnostic in self.sink.take(before):
            self.sink.add(_with_uses(diagnostic, sentence.uses))
        if rule is None:
            return None
        return replace(rule, span=sentence.uses[0].span, name=sentence.name, number=sentence.number)

    def _expand(
        self, use: t.Use, outer: tuple[t.Use, ...]
    ) -> Iterator[tuple[str | None, t.Rule, tuple[t.Use, ...]]]:
        """(name within the use, rule, uses) of each rule that a use brings; nothing after a complaint."""
        decl = self.scope.find(use.template, t.Template)
        if decl is None or not self._size(decl):
            return
        bound = self._bind(use, decl)
        if bound is None:
            return
        uses = (*outer, use)
        for item in decl.items:
            if isinstance(item, t.Rule):
                rule = substitute(item, bound, _accept, [])
                yield (rule.label.text if rule.label else None), rule, uses
            elif isinstance(item, t.Use):
                brought = self._expand(substitute(item, bound, _accept, []), uses)
                for i, (name, rule, through) in enumerate(brought, 1):
                    yield _named(item.label, name, i), rule, through

    # ---- arguments ----

    def _bind(self, use: t.Use, decl: t.Template) -> dict[str, Bound] | None:
        """What each parameter stands for in a use; None after a complaint."""
        takes = tuple((p.name.text, p.kind.text) for p in decl.parameters)
        if len(use.arguments) != len(takes):
            given = len(use.arguments)
            span = use.arguments[0].span.to(use.arguments[-1].span) if use.arguments else use.template.span
            self._complain(errors.BadArgument(decl.name.text, span, takes, decl.name.span, given))
            return None
        before = self.sink.errors
        bound: dict[str, Bound] = {}
        for parameter, argument in zip(decl.parameters, use.arguments, strict=True):
            name, kind = parameter.name.text, parameter.kind.text
            node = KINDS[kind].convert(argument)
            if node is None:
                wrong = (name, kind)
                self._complain(
                    errors.BadArgument(
                        decl.name.text, argument.span, takes, decl.name.span, len(takes), wrong
                    )
                )
                continue
            self._evaluate[kind](node)
            bound[name] = Bound(kind, node, parameter.name.span)
        return bound if self.sink.errors == before else None

    # ---- templates by themselves ----

    def _size(self, decl: t.Template) -> int:
        """How many rules a template brings; 0 after a complaint, here or before, and for an empty one."""
        if id(decl) not in self._sizes:
            size = self.scope.evaluate(decl, lambda: self._examined(decl), 0)
            self._sizes.setdefault(id(decl), size)
        return self._sizes[id(decl)]

    def _examined(self, decl: t.Template) -> int:
        if not self._parameters(decl):
            return 0
        size = 0
        for item in decl.items:
            if isinstance(item, t.Use):
                inner = self.scope.find(item.template, t.Template)
                brought = 0 if inner is None else self._size(inner)
                if inner is None or (not brought and inner.items):
                    return 0  # said of the inner one
                size += brought
            else:
                size += 1
        if size > MAX_RULES:
            self._complain(errors.TooDeep(decl.name.span, MAX_RULES, "rules"))
            return 0
        return size if self._body(decl) else 0

    def _parameters(self, decl: t.Template) -> bool:
        """Whether the parameters are sound: known kinds, and names that hide nothing."""
        before = self.sink.errors
        seen: dict[str, Span] = {}
        for parameter in decl.parameters:
            name, kind = parameter.name, parameter.kind
            first = seen.get(name.text)
            hidden = self.scope.lookup(name)
            if kind.text not in KINDS:
                known = tuple((word, None) for word in KINDS)
                self._complain(errors.UnknownName("parameter kind", kind.text, kind.span, known))
            if name.text in builtin.PROTOCOLS or name.text in builtin.ENTITIES or "." in name.text:
                self._complain(errors.ReservedName(name.text, name.span, "it means something else"))
            elif first is not None or hidden is not None:
                place = first or (hidden.name.span if hidden else name.span)
                self._complain(errors.DuplicateName(name.text, name.span, place))
            seen.setdefault(name.text, name.span)
        return self.sink.errors == before

    def _body(self, decl: t.Template) -> bool:
        """Whether the body can be right at some hook; else the complaints of the hook with the fewest."""
        before, seen = self.sink.errors, list[t.Name]()
        for item in decl.items:  # places that no argument fits
            if isinstance(item, t.Rule | t.Use):
                substitute(item, samples(decl, 0), self._misfit, seen)
        if self.sink.errors > before:
            return False
        places = [Place(hook, d) for hook in hooks.ALL.values() for d in hook.directions or ("",)]
        attempts = [self._attempt(decl, place) for place in places]
        best = min(attempts, key=len)
        for diagnostic in best:
            self.sink.add(diagnostic)
        used = {name.text for name in seen}
        unused = [p for p in decl.parameters if p.name.text not in used]
        if not best and decl.span.source is self.scope.program.main.source:
            for p in unused:
                self._complain(errors.UnusedName("parameter", p.name.text, p.name.span))
        return not best

    def _attempt(self, decl: t.Template, place: Place) -> list[Diagnostic]:
        """Errors of the body at a place: of each statement those with the kindest stand-ins."""
        found = [self._errors(item, decl, place, i) for item in decl.items for i in range(SAMPLES)]
        each = [found[i : i + SAMPLES] for i in range(0, len(found), SAMPLES)]
        return [d for choices in each for d in min(choices, key=len)]

    def _errors(self, item: t.Statement, decl: t.Template, place: Place, choice: int) -> list[Diagnostic]:
        """Errors of a statement with stand-ins. Whether a condition on one always or never holds is up to the
        arguments."""
        start, bound, met = len(self.sink.diagnostics), samples(decl, choice), list[t.Name]()
        if isinstance(item, t.Rule):
            rule = substitute(item, bound, _accept, met)
            self.rules.rule(rule, replace(place, cgroups=Cgroups.asked([rule])))
        elif isinstance(item, t.Use):
            inner = self.scope.find(item.template, t.Template)
            if inner is not None:
                self._bind(substitute(item, bound, _accept, met), inner)
        found = [d for d in self.sink.take(start) if d.severity is Severity.ERROR]
        return [d for d in found if d.code != errors.SettledCondition.code or not _speaks_of(d, met)]

    def _misfit(self, name: t.Name, bound: Bound, wanted: str) -> None:
        self._complain(errors.WrongKind(name.text, name.span, bound.kind, wanted, bound.parameter))

    def _complain(self, error: errors.Finding) -> None:
        self.sink.add(error.diagnostic())


def _named(label: t.Name | None, name: str | None, number: int) -> str | None:
    """What a rule is called one level further out."""
    return name if label is None else f"{label.text}.{name or number}"


def _accept(name: t.Name, bound: Bound, wanted: str) -> None:
    """Nothing: what does not fit was said where the template is declared."""


def _with_uses(diagnostic: Diagnostic, uses: tuple[t.Use, ...]) -> Diagnostic:
    """A finding in a template's body, with a label for each use that led there, the nearest first."""
    first = diagnostic.labels[0].span
    labels = tuple(Label(use.span, "used here") for use in reversed(uses) if not _inside(first, use.span))
    return replace(diagnostic, labels=(*diagnostic.labels, *labels))


def _speaks_of(diagnostic: Diagnostic, names: list[t.Name]) -> bool:
    """Whether one of the names lies in the place that a diagnostic is about."""
    return any(_inside(name.span, diagnostic.labels[0].span) for name in names)


def _inside(inner: Span, outer: Span) -> bool:
    return inner.source is outer.source and outer.start <= inner.start and inner.end <= outer.end
