"""Which matches of a list are found at once by a classifier, and as what boxes.

A match takes part when all it asks are ranges of addresses, protocol and ports, and its rule does nothing but
decide and count. The others stand between: a list falls into pieces, each a match by itself or a run of
matches for one classifier.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, product

from lockgate.stdlib_bpf import classifiers, fields, hooks
from lockgate.stdlib_bpf.classifiers import Box
from lockgate.stdlib_bpf.effects import NONE
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state.flows import AGAIN

from ..match.ir import RuleInfo
from . import protocols
from .ir import Classifier
from .specialise import L4_PROTO, Conjunction

KIND = "rule_tree"
MAX_BOXES = 64  # that one match may become
MAX_COMPARED = 1_000_000  # pairs of matches that are looked at for what may change places
MATCH_NS = 0.22  # of a match in a chain, most of which fail at their first test
WITHOUT_PORTS = IntervalSet.full(8) - fields.WITH_PORTS

Piece = Conjunction | Classifier


def is_plain(rule: RuleInfo, hook: str) -> bool:
    """Whether a rule only decides and counts, so that a number can stand for it."""
    answers = rule.verdict == "reject" and hooks.ALL[hook].target == "interface"
    plain = rule.final and rule.effects == NONE and rule.lasts == AGAIN
    return plain and rule.verdict != "redirect" and not answers


@dataclass(frozen=True)
class Side:
    """Packets of one family that have (`ports`) or lack a transport header with ports, and the `fields` by
    which they are classified."""

    family: int
    ports: bool
    hook: str

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """In the order of the field table."""
        behind = (L4_PROTO, "th.sport", "th.dport") if self.ports else ("ip.proto",)
        names = (f"ip{self.family}.src", f"ip{self.family}.dst", *behind)
        return tuple(name for name in names if self.hook in fields.BY_NAME[name].hooks)

    def narrowed(self, conjunctions: Sequence[Conjunction]) -> list[Conjunction]:
        """The matches as packets of this side see them."""
        found = (self._narrow(one) for one in conjunctions)
        return [one for one in found if one is not None]

    def _narrow(self, one: Conjunction) -> Conjunction | None:
        tests = []
        for name, values in one.tests:
            if name in ("ip.proto", L4_PROTO) and self.ports:
                name, values = L4_PROTO, values & fields.WITH_PORTS
            elif name == L4_PROTO:
                values &= WITHOUT_PORTS
            if not values:
                return None
            tests.append((name, values))
        return Conjunction(one.rule, tuple(tests))


def pieces(
    conjunctions: Sequence[Conjunction],
    rules: Sequence[RuleInfo],
    side: Side,
    always: bool,
    apart: frozenset[int] = frozenset(),
) -> Iterator[Piece]:
    """The list, in an order of the same meaning; classifiers have no names yet. `always`: a run of any length
    goes to one, else one that is faster there. Matches that cannot take part stand before a run where no
    packet of theirs is one of the run's so far, and end it elsewhere; `apart`: rules that take no part."""
    run: list[Conjunction] = []
    patience = MAX_COMPARED
    for rule, group in groupby(conjunctions, key=lambda one: one.rule):
        mine = list(group)
        plain = rule not in apart and is_plain(rules[rule], side.hook)
        fitting = [plain and _count(one, side) <= MAX_BOXES for one in mine]
        if all(fitting):
            run += mine
            continue
        patience -= len(mine) * len(run)
        if patience < 0 or not all(_disjoint(one, other) for one in mine for other in run):
            yield from _settled(run, side, always)
            run = []
        yield from mine
    yield from _settled(run, side, always)


def _disjoint(one: Conjunction, other: Conjunction) -> bool:
    """Whether no packet satisfies both."""
    asked = dict(other.tests)
    return any(name in asked and not values.overlaps(asked[name]) for name, values in one.tests)


def _settled(run: list[Conjunction], side: Side, always: bool) -> Iterator[Piece]:
    found = Classifier("", KIND, side.fields, _boxes(run, side))
    if run and (
        always or classifiers.ALL[KIND].cost(found.contents).latency_ns < MATCH_NS * protocols.met(run)
    ):
        yield found
    else:
        yield from run


def _boxes(run: Sequence[Conjunction], side: Side) -> tuple[Box, ...]:
    """The boxes of matches, in the order of their rules: those of a run that stand in another one share no
    packet."""
    ordered = sorted(run, key=lambda one: one.rule)
    return tuple(Box(one.rule, ranges) for one in ordered for ranges in product(*_ranges(one, side)))


def _count(one: Conjunction, side: Side) -> int:
    """How many boxes a match becomes; too many where it asks what a classifier does not know."""
    count = 1
    for name, values in one.tests:
        if name not in side.fields or len(values) > MAX_BOXES:
            return MAX_BOXES + 1
        count *= len(_parts(name, values))
    return count


def _ranges(one: Conjunction, side: Side) -> list[Sequence[tuple[int, int]]]:
    """Of each field the ranges that a match asks for."""
    asked = dict(one.tests)
    return [_parts(name, asked.get(name, fields.BY_NAME[name].full)) for name in side.fields]


def _parts(name: str, values: IntervalSet) -> Sequence[tuple[int, int]]:
    """Ranges, or of a wide field prefixes."""
    if name == L4_PROTO:
        return _protocols(values)
    width = fields.BY_NAME[name].width_bits
    if width <= 64:
        return values.ranges
    return [(low, low | (1 << width - length) - 1) for low, length in values.prefixes(width)]


def _protocols(values: IntervalSet) -> list[tuple[int, int]]:
    """Ranges of protocols as packets with ports may have them: "TCP or UDP" is one, for nothing lies between
    the two."""
    found: list[tuple[int, int]] = []
    follows = False
    for protocol, _ in fields.WITH_PORTS.ranges:
        if protocol in values:
            found.append((found.pop()[0] if follows else protocol, protocol))
        follows = protocol in values
    return found
