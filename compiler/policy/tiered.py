"""Checked policies for endpoints to one rule list: tiers in order, policies in a tier, failsafes before all.

What a policy says once for all its rules becomes a test of each (`docs/internals/endpoints.md`). Knows order
and what leads where; must never know text, nor what a rule asks of a packet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from lockgate.stdlib_bpf import fields, hooks
from lockgate.stdlib_bpf.labels import Selection, Selector
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state.flows import AGAIN, KEPT, STACK, STATELESS

from ..source import Span
from .model import AllOf, Chain, FieldTest, Rule, Section, Traffic, Where
from .selectors import Selections, union

NAME = "endpoints"  # of the rule list
HOOK = hooks.ALL["endpoint"]
STRICT, LOOSE, OFF = "strict", "loose", "off"
JUDGE, KEEP = "judge", "keep"
FAILSAFE = "failsafe"  # in place of a policy's name
UNDECIDED = "undecided"  # what the rule is called that drops what no tier decided
_ONE, _NONE = IntervalSet.of(1), IntervalSet.of(0)
_TCP = IntervalSet.of(fields.IPPROTO_TCP)


@dataclass(frozen=True)
class Said:
    """A policy for endpoints. `blocks`: directions that it speaks of; `rules`: (direction, rule) in order, by
    the names that they have in the policy; `default`: the verdict, with its place, None where it says none;
    `tier` "" and `order` None where there is none."""

    name: str
    selector: Selector
    blocks: tuple[str, ...]
    rules: tuple[tuple[str, Rule], ...]
    span: Span
    tier: str = ""
    order: int | None = None
    audit: bool = False
    state: str = STRICT
    reload: str = JUDGE
    default: tuple[str, Span] | None = None

    @property
    def lasts(self) -> str:
        """What rules that allow make, of `state.flows.LASTS`."""
        return STATELESS if self.state == OFF else KEPT if self.reload == KEEP else AGAIN


@dataclass
class _List:
    """The rules so far, and whose they are."""

    selections: Selections
    rules: list[Rule] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    def add(self, rules: Iterable[Rule], about: Section) -> None:
        """Rules, of a section that begins here."""
        first = len(self.rules)
        self.rules += rules
        self.sections.append(replace(about, first=first, last=len(self.rules)))


def order_of(policy: Said) -> tuple[bool, int, str]:
    """The place of a policy in its tier: those with an order first."""
    return (policy.order is None, policy.order or 0, policy.name)


def chain(
    policies: Sequence[Said],
    failsafes: Sequence[Said],
    tiers: Sequence[str],
    defaults: dict[str, tuple[str, Span]],
    selections: Selections,
    devices: tuple[str, ...],
    forward: str = STACK,
) -> Chain:
    """The rule list. `tiers`: in order; `defaults`: tier → its verdict, with its place; none is `pass`;
    `forward`: as in `Chain`."""
    out = _List(selections)
    for failsafe in failsafes:
        for direction in HOOK.directions:
            rules = [*_failsafe(failsafe, direction, selections)]
            out.add(rules, _about(failsafe, direction, selections))
    for tier in tiers:
        start = len(out.rules)
        members = sorted((p for p in policies if p.tier == tier), key=order_of)
        for policy in members:
            _add_policy(policy, out)
        if tier in defaults:
            _add_end(defaults[tier], tier, f"{tier}.default" if tier else "default", members, out)
        _lead_on(out.rules, start)
    first = next(p.span for p in (*policies, *failsafes))
    _add_end(("drop", first), "", UNDECIDED, policies, out)
    return Chain(
        policy=NAME,
        hook=HOOK.name,
        direction="",
        targets=(),
        default="allow",
        rules=tuple(out.rules),
        span=first,
        devices=devices,
        fragments=HOOK.fragments or "",
        forward=forward,
        selections=tuple(selections.listed),
        sections=tuple(out.sections),
        selectors=tuple(selections.written.items()),
    )


def _about(policy: Said, direction: str, selections: Selections) -> Section:
    number = selections.number(Selection((policy.selector,)))
    return Section(policy.tier, policy.name, direction, number, 0, 0, policy.span, policy.order, policy.audit)


def _add_policy(policy: Said, out: _List) -> None:
    start = len(out.rules)
    for direction in HOOK.directions:
        if direction in policy.blocks:
            about = _about(policy, direction, out.selections)
            rules = [rule for d, rule in policy.rules if d == direction]
            out.add([_asked(rule, policy, direction, about.selection) for rule in rules], about)
    if policy.audit:  # what decided would end the policy, and nothing else
        out.rules[start:] = [_audited(rule, len(out.rules)) for rule in out.rules[start:]]


def _asked(rule: Rule, policy: Said, direction: str, selection: int) -> Rule:
    """A rule with what its policy says once for all."""
    tests = [FieldTest(fields.selected_field(fields.SUBJECT, selection), _ONE)]
    if rule.verdict == "allow" and policy.state == STRICT:
        tests.append(FieldTest("flow.opens", _ONE))
    return replace(
        rule,
        name=None if rule.name is None else f"{policy.name}.{rule.name}",
        where=_and(tests, rule.where),
        direction=direction,
        lasts=policy.lasts if rule.verdict == "allow" else AGAIN,
    )


def _and(tests: Sequence[FieldTest], where: Where | None) -> Where:
    parts = (*tests, *(() if where is None else (where,)))
    return parts[0] if len(parts) == 1 else AllOf(parts)


def _audited(rule: Rule, end: int) -> Rule:
    """A rule that only says that it matched; one that would have ended the policy ends it."""
    return (
        rule
        if rule.verdict == "continue"
        else replace(rule, verdict="continue", resume=end, would=rule.verdict)
    )


def _lead_on(rules: list[Rule], start: int) -> None:
    """Let the rules of a tier that `pass`, from `start` on, lead to what follows the tier."""
    end = len(rules)
    for index in range(start, end):
        if rules[index].verdict == "pass":
            rules[index] = replace(rules[index], resume=end)


def _add_end(default: tuple[str, Span], tier: str, title: str, policies: Iterable[Said], out: _List) -> None:
    """What becomes of packets that none of the policies decided, of endpoints that one of them selects.
    `title`: what reports call it."""
    verdict, span = default
    enforced = [p for p in policies if not p.audit]
    for direction in HOOK.directions:
        selectors = {p.selector for p in enforced if direction in p.blocks}
        if not selectors:
            continue
        number = out.selections.number(union(selectors))
        rule = Rule(
            span,
            verdict,
            where=FieldTest(fields.selected_field(fields.SUBJECT, number), _ONE),
            direction=direction,
            stands_for=f"{title}.{direction}",
        )
        out.add([rule], Section(tier, "", direction, number, 0, 0, span))


def _failsafe(failsafe: Said, direction: str, selections: Selections) -> Iterable[Rule]:
    """What is allowed whatever policies say, also in the midst of a connection; and the answers of
    connections whose flow is not known, as after a load."""
    number = selections.number(Selection((failsafe.selector,)))
    for written, rule in failsafe.rules:
        if written == direction:
            yield _asked(rule, failsafe, direction, number)
    for written, rule in failsafe.rules:
        if written != direction and rule.dports is not None and any(map(_may_be_tcp, rule.traffic)):
            answer = replace(
                rule,
                src=rule.dst,
                dst=rule.src,
                sports=rule.dports,
                dports=rule.sports,
                limit=None,
                where=_and([FieldTest("ip.proto", _TCP), FieldTest("flow.opens", _NONE)], rule.where),
                stands_for=f"answers of {rule.label}",
            )
            yield replace(_asked(answer, failsafe, direction, number), lasts=STATELESS)


def _may_be_tcp(kind: Traffic) -> bool:
    return kind.protocols is None or kind.protocols.overlaps(_TCP)
