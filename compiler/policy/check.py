"""Policies of the tree to chains of the model.

Knows what belongs in a policy and which hook takes what; a policy becomes one chain for each direction that
has a block. Must never know how a rule is decided.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lockgate.stdlib_bpf import hooks
from lockgate.stdlib_bpf.state.fragments import DEFAULT_MODE, MODES

from .. import errors
from ..diagnostics import Fix, Sink
from ..source import Span
from ..syntax import tree as t
from . import names as builtin
from .actions import SENDING, Place, decisions
from .cgroups import Cgroups
from .expiry import Expiry
from .model import Chain
from .rules import Rules
from .selectors import selector, union
from .targets import Targets
from .templates import Sentence, Templates

# What a policy may say, by the target of its hook; and a failsafe.
_EVERYWHERE = frozenset({"default", "owner", "fragments"})
ATTRIBUTES = {
    "interface": _EVERYWHERE,
    "cgroup": _EVERYWHERE,
    "endpoint": frozenset({"default", "owner", "tier", "order", "mode", "state", "reload"}),
    "failsafe": frozenset({"owner"}),
}


@dataclass
class Contents:
    """A policy's items by kind. `rules`: (direction, sentence) in order; `blocks`: direction → its block."""

    attributes: dict[str, t.Attribute]
    rules: list[tuple[str, Sentence]]
    blocks: dict[str, t.Block]


class Policies:
    """Checks policies, in the order of the file."""

    def __init__(
        self, module: t.Module, rules: Rules, targets: Targets, templates: Templates, expiry: Expiry
    ) -> None:
        self.module, self.rules, self.targets = module, rules, targets
        self.templates, self.expiry = templates, expiry
        self.sink: Sink = rules.sink
        self._labels: dict[str, list[tuple[str, str, Span]]] = {}  # by policy: direction, name, where

    def labels(self, policy: str, direction: str | None) -> dict[str, Span]:
        """Names of a checked policy's rules, with their places; of one direction, or of all."""
        found = self._labels.get(policy, ())
        return {name: span for where, name, span in found if direction in (None, where)}

    @property
    def named(self) -> list[tuple[str, str, Span]]:
        """(policy, rule, where) of every named rule of all checked policies."""
        return [(policy, name, span) for policy, found in self._labels.items() for _, name, span in found]

    def chains(self, policy: t.Policy) -> tuple[Chain, ...]:
        """The policy's chains; empty after a complaint that leaves nothing to check."""
        scope = policy.scope
        if isinstance(scope, t.NotYet):
            self._complain(errors.NotYet(scope.what, scope.span))
            return ()
        if isinstance(scope, t.EndpointScope):
            return ()  # `endpoints` puts all of those into one
        hook = hooks.NAMED.get(scope.hook.text)
        if hook is None:
            known = tuple((name, None) for name in hooks.NAMED)
            self._complain(errors.UnknownName("hook", scope.hook.text, scope.hook.span, known))
            return ()
        if scope.kind != hook.target and (scope.kind != "labels" or hook.target != "cgroup"):
            self._complain(errors.HookTarget(hook.name, hook.target, scope.span))
            return ()
        chosen = () if scope.selector is None else ((selector(scope.selector), scope.selector.span),)
        devices = hook.target == "interface"
        targets = (self.targets.devices if devices else self.targets.cgroups)(scope.targets)
        contents = self.contents(policy.items, hook)
        default = self._default(policy, contents, hook)
        written = contents.attributes.get("default")
        fragments = self._fragments(policy, contents, hook)
        self.rule_names(policy.name.text, contents.rules)
        places = {
            d: self._place(hook, d, targets, [s.rule for at, s in contents.rules if at == d])
            for d in hook.points
        }
        checked = [
            (direction, self.templates.checked(s, places.get(direction, Place(hook, direction, targets))))
            for direction, s in contents.rules
        ]
        owner = contents.attributes.get("owner")
        holding = [(direction, r) for direction, r in checked if r is not None and self.expiry.holds(r)]
        return tuple(
            Chain(
                policy=policy.name.text,
                hook=hook.name,
                direction=direction,
                targets=targets,
                default=default,
                rules=tuple(r for d, r in holding if d == direction),
                span=span,
                default_span=written.span if written else None,
                fragments=fragments,
                owner=owner.value.text if owner is not None and isinstance(owner.value, t.Text) else None,
                devices=tuple(places[direction].devices.names),
                cgroups=places[direction].cgroups.paths,
                selections=tuple(union([one]) for one, _ in chosen),
                selectors=chosen,
            )
            for direction, span in self.directions(policy, contents, hook)
        )

    def _place(
        self, hook: hooks.Hook, direction: str, targets: tuple[str, ...], rules: Sequence[t.Rule]
    ) -> Place:
        proxies = self.rules.actions.proxies.cgroups(rules)
        return Place(hook, direction, targets, cgroups=Cgroups.asked(rules, proxies), proxies=proxies)

    def contents(self, items: Sequence[t.Statement | t.Block], hook: hooks.Hook, where: str = "") -> Contents:
        """The items of a policy, sorted. `where`: a key of `ATTRIBUTES`; by the hook's target where it is
        not said."""
        contents = Contents({}, [], {})
        bare: list[t.Rule | t.Use] = []
        for item in items:
            match item:
                case t.Attribute():
                    self._attribute(item, contents, where or hook.target)
                case t.Rule() | t.Use():
                    bare.append(item)
                case t.Block():
                    self._block(item, contents, hook)
                case t.NotYet(span, what):
                    self._complain(errors.NotYet(what, span))
        if bare and hook.directions:
            self._complain(errors.RulesNeedBlocks(bare[0].span, hook.name, hook.directions))
        contents.rules += [("", s) for item in bare for s in self.templates.sentences(item)]
        return contents

    def _attribute(self, item: t.Attribute, contents: Contents, where: str) -> None:
        first = contents.attributes.get(item.key)
        if first is not None:
            self._complain(errors.Repeated(f"`{item.key}`", item.span, first.span))
        elif item.key not in ATTRIBUTES[where]:
            known = where if where in ("endpoint", "failsafe") else "interface"
            self._complain(errors.MisplacedAttribute(item.key, item.span, known))
        contents.attributes.setdefault(item.key, item)

    def _block(self, block: t.Block, contents: Contents, hook: hooks.Hook) -> None:
        direction = block.direction.text
        if direction not in hook.directions:
            self._complain(errors.MisplacedBlock(direction, block.direction.span, hook.name))
        elif direction in contents.blocks and block.direction.span.text == direction:
            first = contents.blocks[direction].direction.span
            self._complain(errors.Repeated(f"the block `{direction}`", block.direction.span, first))
        contents.blocks.setdefault(direction, block)
        for item in block.items:
            match item:
                case t.NotYet(span, what):
                    self._complain(errors.NotYet(what, span))
                case t.Attribute(span, key, _):
                    self._complain(errors.MisplacedAttribute(key, span))
                case t.Rule() | t.Use():
                    contents.rules += [(direction, s) for s in self.templates.sentences(item)]

    def _default(self, policy: t.Policy, contents: Contents, hook: hooks.Hook) -> str:
        attribute = contents.attributes.get("default")
        if attribute is None:
            if not self._hidden(policy):
                choices = decisions(hook)
                fixes = [_first_line(policy, f"default {verdict}", sure=False) for verdict in choices]
                self._complain(errors.NoDefault(policy.name.text, policy.name.span, choices, tuple(fixes)))
        elif isinstance(attribute.value, t.Name) and self.rules.action(attribute.value, hook, decides=True):
            if attribute.value.text not in SENDING:
                return attribute.value.text
            self._complain(errors.NeedsDevice(attribute.value.text, attribute.value.span, 0))
        return hook.malformed

    def _fragments(self, policy: t.Policy, contents: Contents, hook: hooks.Hook) -> str:
        """The mode for fragments; the usual one after a complaint."""
        attribute = contents.attributes.get("fragments")
        value = None if attribute is None else attribute.value
        if attribute is None:
            if hook.fragments == "" and not self._hidden(policy):
                fix = _first_line(policy, f"fragments {DEFAULT_MODE}", sure=True)
                self._complain(errors.FragmentsUnsaid(policy.name.text, policy.name.span, hook.name, fix))
            return hook.fragments or DEFAULT_MODE
        if hook.fragments is None:
            self._complain(errors.NotAtHook("fragments", hook.name, attribute.span))
        elif isinstance(value, t.Name) and value.text not in MODES:
            known = tuple((name, None) for name in MODES)
            self._complain(errors.UnknownName("`fragments` mode", value.text, value.span, known))
        elif isinstance(value, t.Name):
            return value.text
        return DEFAULT_MODE

    def _hidden(self, policy: t.Policy) -> bool:
        """Whether part of a policy was left out after a syntax error: what is missing may be there."""
        return any(policy.span.start <= s.start < policy.span.end for s in self.module.skipped)

    def rule_names(self, policy: str, rules: Sequence[tuple[str, Sentence]]) -> None:
        """Keep the names of a policy's rules, and complain about those that are taken."""
        seen: dict[str, Span] = {}
        for direction, sentence in rules:
            if sentence.name is None:
                continue
            name, span = sentence.name, sentence.name_span
            self._labels.setdefault(policy, []).append((direction, name, span))
            if name in builtin.NO_RULE_NAMES:
                self._complain(
                    errors.ReservedName(name, span, "reports use it for packets that no rule decides")
                )
            elif name in seen:
                self._complain(errors.DuplicateRule(name, span, seen[name]))
            seen.setdefault(name, span)

    def directions(self, policy: t.Policy, contents: Contents, hook: hooks.Hook) -> list[tuple[str, Span]]:
        """The directions that a policy speaks of, each with its place; complains where there is none."""
        if not hook.directions:
            return [("", policy.span)]
        found = [(d, contents.blocks[d].span) for d in hook.directions if d in contents.blocks]
        if not found and not contents.rules and not self.module.skipped:
            self._complain(errors.RulesNeedBlocks(policy.name.span, hook.name, hook.directions))
        return found

    def _complain(self, error: errors.Finding) -> None:
        self.sink.add(error.diagnostic())


def _body(policy: t.Policy) -> Span | None:
    """The place behind the `{` that opens a policy."""
    source, start = policy.span.source, policy.scope.span.end
    opening = re.compile(r"(?:\s|#[^\n]*)*\{").match(source.text, start)
    return None if opening is None else Span(source, opening.end(), opening.end())


def _first_line(policy: t.Policy, text: str, *, sure: bool) -> Fix | None:
    """The fix that writes an attribute before the items of a policy."""
    body = _body(policy)
    same_line = body is not None and policy.items and policy.items[0].span.line == body.line
    return None if body is None else Fix(body, f" {text}" if same_line else f"\n  {text}", sure)
