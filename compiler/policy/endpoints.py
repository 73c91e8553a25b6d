"""Policies for endpoints and failsafes of the tree, checked: what each says for itself.

Knows what belongs in one; how they stand together in one list is `tiered`, what a rule means `rules`. Must
never know which endpoints there are.
"""

from __future__ import annotations

from collections.abc import Sequence

from lockgate.stdlib_bpf import fields, hooks
from lockgate.stdlib_bpf.labels import HOST, WORKLOAD

from .. import errors
from ..source import Span
from ..syntax import tree as t
from . import tiered
from .actions import Devices, Place, decisions
from .check import Contents, Policies
from .model import Chain, Rule
from .networks import ANY
from .selectors import Selections, selector
from .tiered import JUDGE, KEEP, LOOSE, OFF, STRICT, Said
from .tiers import Tiers

HOOK = hooks.ALL["endpoint"]
MODES = {"enforce": False, "audit": True}
STATES = (STRICT, LOOSE, OFF)
RELOADS = (JUDGE, KEEP)
PASS = "pass"  # as a default: the next tier is asked
MAX_ORDER = 1 << 31


class Endpoints:
    """Checks all of a file, into at most one chain."""

    def __init__(self, policies: Policies, tiers: Tiers, selections: Selections, forward: str) -> None:
        self.policies, self.tiers, self.selections = policies, tiers, selections
        self.forward = forward
        self.sink = policies.sink
        self.devices = Devices()

    def chain(self, decls: Sequence[t.Decl]) -> Chain | None:
        """The rule list of all policies for endpoints; None where there is none."""
        said = [found for d in decls if isinstance(d, t.Policy) and (found := self._policy(d)) is not None]
        failsafes = [self._failsafe(d) for d in decls if isinstance(d, t.Failsafe)]
        if not said and not failsafes:
            return None
        return tiered.chain(
            said,
            failsafes,
            self.tiers.ordered,
            self._defaults(said),
            self.selections,
            tuple(self.devices.names),
            self.forward,
        )

    def _policy(self, policy: t.Policy) -> Said | None:
        scope = policy.scope
        if not isinstance(scope, t.EndpointScope):
            return None
        if policy.name.text == tiered.NAME:
            why = "the rule list of all policies for endpoints is called so"
            self._complain(errors.ReservedName(policy.name.text, policy.name.span, why))
        contents = self.policies.contents(policy.items, HOOK)
        self.policies.directions(policy, contents, HOOK)
        tier = self.tiers.of(policy, contents.attributes.get("tier"), self.sink)
        chosen = selector(scope.selector, HOST if scope.hosts else WORKLOAD)
        self.selections.written_at(scope.selector, (chosen,))
        return Said(
            policy.name.text,
            chosen,
            tuple(contents.blocks),
            self._rules(policy.name.text, contents),
            policy.span,
            tier=self.tiers.ordered[0] if tier is None else tier,
            order=self._order(contents),
            audit=MODES.get(self._word(contents, "mode", tuple(MODES)), False),
            state=self._word(contents, "state", STATES),
            reload=self._word(contents, "reload", RELOADS),
            default=self._default(contents),
        )

    def _failsafe(self, failsafe: t.Failsafe) -> Said:
        contents = self.policies.contents(failsafe.items, HOOK, tiered.FAILSAFE)
        rules = self._rules(tiered.FAILSAFE, contents)
        for _, rule in rules:
            if rule.verdict != "allow":
                why = "a failsafe can only allow: it is asked before every policy"
                remedy = "write it in a policy of the first tier"
                self._complain(errors.ActionNotAtHook(rule.verdict, "a failsafe", rule.span, why, remedy))
            elif _is_open(rule):
                self._complain(errors.OpenFailsafe(rule.span))
        chosen = selector(failsafe.selector, HOST)
        self.selections.written_at(failsafe.selector, (chosen,))
        return Said(tiered.FAILSAFE, chosen, tuple(contents.blocks), rules, failsafe.span, state=LOOSE)

    def _rules(self, name: str, contents: Contents) -> tuple[tuple[str, Rule], ...]:
        self.policies.rule_names(name, contents.rules)
        checked = [
            (direction, self.policies.templates.checked(s, Place(HOOK, direction, devices=self.devices)))
            for direction, s in contents.rules
        ]
        return tuple((d, r) for d, r in checked if r is not None and self.policies.expiry.holds(r))

    # ---- attributes ----

    def _order(self, contents: Contents) -> int | None:
        attribute = contents.attributes.get("order")
        if attribute is None or not isinstance(attribute.value, t.Number):
            return None
        self.policies.rules.networks.in_range("`order`", attribute.value, 0, MAX_ORDER)
        return attribute.value.value

    def _word(self, contents: Contents, key: str, words: tuple[str, ...]) -> str:
        """The value of an attribute that is one of some words, the first of which is meant where none is."""
        attribute = contents.attributes.get(key)
        value = None if attribute is None else attribute.value
        if not isinstance(value, t.Name):
            return words[0]
        if value.text not in words:
            known = tuple((word, None) for word in words)
            self._complain(errors.UnknownName(f"`{key}`", value.text, value.span, known))
        return value.text

    def _default(self, contents: Contents) -> tuple[str, Span] | None:
        attribute = contents.attributes.get("default")
        if attribute is None or not isinstance(attribute.value, t.Name):
            return None
        return self._verdict(attribute.value, attribute.span)

    def _verdict(self, action: t.Name, span: Span) -> tuple[str, Span] | None:
        sound = action.text in (PASS, *decisions(HOOK)) or self.policies.rules.action(
            action, HOOK, decides=True
        )
        return (action.text, span) if sound else None

    def _defaults(self, said: Sequence[Said]) -> dict[str, tuple[str, Span]]:
        """Tier → its default, with its place, where that is not to ask the next one."""
        found: dict[str, tuple[str, Span]] = {}
        for policy in said:
            if policy.default is None:
                continue
            first = found.setdefault(policy.tier, policy.default)
            if first[0] != policy.default[0]:
                self._complain(errors.DifferentDefaults(policy.tier, first, policy.default))
        if self.tiers.default is not None:
            general = self._verdict(self.tiers.default, self.tiers.default.span)
            for tier in self.tiers.ordered if general is not None else ():
                assert general is not None
                found.setdefault(tier, general)
        return {tier: default for tier, default in found.items() if default[0] != PASS}

    def _complain(self, error: errors.Finding) -> None:
        self.sink.add(error.diagnostic())


def _is_open(rule: Rule) -> bool:
    """Whether a rule lets all of a protocol with ports, or everything, in from everybody."""
    everybody = all(network in (None, ANY) for network in (rule.src, rule.dst))
    parts = (rule.sports, rule.dports, rule.flags, rule.where)
    wide = any(
        kind.ports is None and (kind.protocols is None or kind.protocols.overlaps(fields.WITH_PORTS))
        for kind in rule.traffic
    )
    return everybody and wide and all(part is None for part in parts)
