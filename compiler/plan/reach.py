"""Which packets reach which leaf of a plan, as boxes, and whether a match program sends them there, too.

Nodes are visited in their order, since edges lead to higher numbers only; what arrives at one is a list of
disjoint boxes, each with what happened on its way at rules that may let the packet go on. `l4.proto` is
`ip.proto` in packets that carry the transport header, so it is kept as presence alone: full or missing.

Tables are taken as what they were built from: that images and code agree with that is the affair of the
properties of each structure. Fields are taken as independent (`match.boxes`), so a box that is told may hold
no packet that exists. Knows plans and match programs; must never know packets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

from ..match.boxes import Box, domain, present
from ..match.equal import Work, rest
from ..match.ir import MatchProgram, RuleInfo
from ..match.prove import TooMuchWork
from .ir import (
    DEFAULT,
    Admit,
    Between,
    Branch,
    Classify,
    InTable,
    Leaf,
    Masked,
    Pass,
    Plan,
    Tag,
    Tagged,
    Test,
)

L4_PROTO = fields.L4_PROTO.name
THERE, ABSENT = fields.L4_PROTO.full, IntervalSet.of(1 << fields.L4_PROTO.width_bits)
MAX_LISTED_BITS = 16  # a mask with holes over a wider field is not listed

Event = tuple[int, bool | None]  # a rule: whether its limit admitted the packet, None where it let it pass


@dataclass(frozen=True)
class Arrival:
    """Packets that came to a node, and the rules that did not decide them, in order."""

    box: Box
    events: tuple[Event, ...] = ()


def suspects(program: MatchProgram, plan: Plan) -> Iterator[Box]:
    """Boxes of packets that the plan may answer otherwise than the program; none is a proof. Raises
    TooMuchWork."""
    work = Work()
    rules = [
        (rule, [_guarded(dict(match.tests)) for match in group])
        for rule, group in groupby(program.matches, key=lambda match: match.rule)
    ]
    for leaf, arrival in arrivals(plan, work):
        yield from _astray(program.rules, rules, leaf, arrival, work)


def arrivals(plan: Plan, work: Work) -> Iterator[tuple[int, Arrival]]:
    """(rule of a leaf or DEFAULT, what arrives there). Raises TooMuchWork."""
    start: Box = {L4_PROTO: THERE, "eth.type": fields.IP} if plan.hook == "connect" else {}
    waiting: dict[int, list[Arrival]] = defaultdict(list, {0: [Arrival(start)]})
    for number, node in enumerate(plan.nodes):
        here = waiting.pop(number, [])
        work.take(len(here))
        for one in here:
            match node:
                case Leaf(rule):
                    yield rule, one
                case Admit(rule, yes, no):
                    waiting[yes].append(Arrival(one.box, (*one.events, (rule, True))))
                    waiting[no].append(Arrival(one.box, (*one.events, (rule, False))))
                case Pass(rule, following):
                    waiting[following].append(Arrival(one.box, (*one.events, (rule, None))))
                case Tag(_, _, following):
                    waiting[following].append(one)
                case Branch(test, yes, no, _):
                    for holds, box in _split(one.box, *_asked(test, plan), work):
                        waiting[yes if holds else no].append(Arrival(box, one.events))
                case Classify(name, following):
                    left = [one.box]
                    for rule, taken in _classes(plan, name):
                        met = [piece for piece in left if work.meet(piece, taken)]
                        work.take(len(left))
                        for piece in met:
                            yield rule, Arrival(_common(piece, taken), one.events)
                        left = rest(left, [taken], work) if met else left
                    waiting[following] += [Arrival(piece, one.events) for piece in left]


def _split(box: Box, name: str, values: IntervalSet, work: Work) -> Iterator[tuple[bool, Box]]:
    """(whether a field has one of the values, packets of the box where it is so)."""
    if name == L4_PROTO:
        if box.get(L4_PROTO, ABSENT) == ABSENT:
            yield False, {**box, L4_PROTO: ABSENT}
        if box.get(L4_PROTO, THERE) != THERE:
            return
        box, name = {**box, L4_PROTO: THERE}, "ip.proto"
    there, outside = work.cut(box.get(name, domain(name)), values)
    if there:
        yield True, {**box, name: there}
    if present(name, box) or (name == "ip.proto" and box.get(L4_PROTO) == THERE):
        outside = work.cut(outside, fields.lookup(name).possible)[0]
    if outside:
        yield False, {**box, name: outside}


def _asked(test: Test, plan: Plan) -> tuple[str, IntervalSet]:
    """The field of a test, and the values that pass it."""
    match test:
        case Between(name, low, high):
            return name, IntervalSet.of((low, high))
        case Masked(name, mask, value):
            return name, _masked(fields.lookup(name).width_bits, mask, value)
        case InTable(name, table):
            found = plan.table(table)
            if found.live is None:
                return name, found.values
            return fields.live_field(name, found.live), IntervalSet.of(1)
        case Tagged(name, tags, member):
            return name, plan.tagging(tags).members[member]


def _masked(width: int, mask: int, value: int) -> IntervalSet:
    free = (1 << width) - 1 & ~mask
    if free & (free + 1) == 0:
        return IntervalSet.of((value, value | free))
    if width > MAX_LISTED_BITS:
        raise TooMuchWork
    return IntervalSet.of(*(number for number in range(1 << width) if number & mask == value))


def _classes(plan: Plan, name: str) -> Iterator[tuple[int, Box]]:
    """(rule, box) of a classifier, in the order in which they are asked."""
    found = plan.classifier(name)
    for box in found.boxes:
        tests = {field: IntervalSet.of(ends) for field, ends in zip(found.fields, box.ranges, strict=True)}
        if L4_PROTO in tests:
            tests = {L4_PROTO: THERE, "ip.proto": tests.pop(L4_PROTO), **tests}
        yield box.rule, tests


def _guarded(box: Box) -> Box:
    """A match's box as a plan sees it: what is read of the transport header is there."""
    transport = any(fields.lookup(name).transport for name in box)
    return {L4_PROTO: THERE, **box} if transport else box


def _common(box: Box, other: Box) -> Box:
    return {**box, **{name: box.get(name, domain(name)) & values for name, values in other.items()}}


def _astray(
    rules: Sequence[RuleInfo],
    matches: Sequence[tuple[int, list[Box]]],
    leaf: int,
    arrival: Arrival,
    work: Work,
) -> Iterator[Box]:
    """Parts of what arrives at a leaf that the matches send elsewhere, or on another way."""
    box, tried = arrival.box, {rule for rule, _ in arrival.events}
    if not _consistent(rules, leaf, arrival.events):
        yield box
        return
    following = 0  # the first rule that may be tried
    for rule, mine in matches:
        if rule < following:
            continue
        work.take(len(mine))
        if rule == leaf or rule in tried:
            yield from rest([box], mine, work)
            tried.discard(rule)
            if (rule, None) in arrival.events:
                following = rules[rule].resume or following
        else:
            yield from (_common(box, other) for other in mine if work.meet(box, other))
        if rule == leaf:
            break
    if tried or not (leaf == DEFAULT or any(rule == leaf >= following for rule, _ in matches)):
        yield box  # of a rule that has no matches, or is led past


def _consistent(rules: Sequence[RuleInfo], leaf: int, events: Sequence[Event]) -> bool:
    """Whether rules happened in order, each as a rule of its kind does."""
    expected: list[Event] = []
    answers = {rule: admitted for rule, admitted in events if admitted is not None}
    for rule in dict.fromkeys(rule for rule, _ in events):
        info = rules[rule]
        if info.limit is not None:
            expected.append((rule, answers.get(rule, True)))
        if info.passing and answers.get(rule, True):
            expected.append((rule, None))
    decides = [rule for rule, admitted in events if admitted and not rules[rule].passing]
    order = [rule for rule, _ in events]
    limited = leaf != DEFAULT and rules[leaf].limit is not None
    return list(events) == expected and order == sorted(order) and decides == ([leaf] if limited else [])
