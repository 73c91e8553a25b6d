"""Which sets are looked up together: one lookup of an address that answers all that a chain asks about it.

Sets asked about one field become members of tags (`stdlib_bpf.tags`) where that is cheaper: the look-up
stands once, before the first match that asks, and costs every packet that comes so far; each test behind it
is that of a bit. Alone, each set costs a lookup to all packets that ask for it. Weighed with guesses of the
shares of packets, as everything that concerns speed alone. Dynamic sets are never members.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from lockgate.stdlib_bpf import fields, tags
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.tables import Cost
from lockgate.stdlib_bpf.tables.memory import read_ns
from lockgate.stdlib_bpf.tags import MAX_MEMBERS, Tagger

from ..match.ir import RuleInfo
from .choose import INLINE, Bit, Chooser, Goal, smaller_side
from .inline import COMPARE_NS
from .ir import Tags
from .order import chance
from .specialise import Conjunction

FIELDS = ("ip4.src", "ip4.dst", "ip6.src", "ip6.dst")
FEW_RANGES = 2  # of a set that is as well asked for in the program
MOST_DECIDED = 0.1  # of the packets that come to a rule: where many lists are asked, few packets are on one
# Of packets that go through each of the chains: with ports and without; of TCP, of UDP and others.
SHARES = {1: (1.0,), 2: (0.9, 0.1), 3: (0.6, 0.3, 0.1)}


@dataclass
class _Asked:
    """A set that a field is asked about. `tests`: the sets that it answers for, and whether as the
    complement; `weight`: how often a mean packet asks; `first`: by chain, the share of packets that come to
    the first match that asks; `alone`: what a lookup of its own costs."""

    held: IntervalSet
    alone: Cost
    tests: list[tuple[IntervalSet, bool]] = field(default_factory=list)
    weight: float = 0.0
    first: dict[int, float] = field(default_factory=dict)


class Tagging:
    """The tags of one plan. `structures`: names allowed; where "inline" is not among them every set of
    addresses becomes a member."""

    def __init__(self, chooser: Chooser, structures: frozenset[str], goal: Goal) -> None:
        self._chooser, self._goal = chooser, goal
        self._kinds = [block for kind, block in tags.ALL.items() if kind in structures]
        self._always = INLINE not in structures
        self._tags: list[Tags] = []

    @property
    def tags(self) -> tuple[Tags, ...]:
        """All that were decided so far."""
        return tuple(self._tags)

    def decide(
        self, chains: Sequence[Sequence[Conjunction]], shares: Mapping[int, float], rules: Sequence[RuleInfo]
    ) -> None:
        """Decide for the chains of one kind of packet, and tell the chooser. `shares`: of packets that reach
        each rule, as a profile says; empty without one."""
        for name in FIELDS:
            width = fields.BY_NAME[name].width_bits
            block = next((one for one in self._kinds if width in one.WIDTHS), None)
            if block is None:
                continue
            asked = self._asked(name, chains, shares, rules)
            while group := self._best(asked, block, width):
                held = self._held(group, block, width)
                for member, one in ((held.members.index(one.held), one) for one in group):
                    for values, inverted in one.tests:
                        self._chooser.tagged(values, Bit(name, held.name, member, inverted))
                asked = [one for one in asked if one not in group]

    def _asked(
        self,
        name: str,
        chains: Sequence[Sequence[Conjunction]],
        shares: Mapping[int, float],
        rules: Sequence[RuleInfo],
    ) -> list[_Asked]:
        """What a field is asked about that could be a member; what saves most comes first."""
        width, found = fields.BY_NAME[name].width_bits, _Found(self._chooser, name)
        for chain, part in enumerate(SHARES[len(chains)]):
            reached = 1.0
            for one in chains[chain]:
                here = shares.get(one.rule, reached)
                values = dict(one.tests).get(name)
                if values is not None and (self._always or len(values) > FEW_RANGES):
                    held, inverted = smaller_side(values, width)
                    asked = found.of(held)
                    asked.weight += part * here * self._guarded(name, one)
                    asked.tests.append((values, inverted))
                    asked.first.setdefault(chain, part * here)
                if rules[one.rule].final:
                    reached *= 1.0 - min(MOST_DECIDED, prod(chance(*test) for test in one.tests))
        return sorted(found, key=lambda one: -one.weight * one.alone.latency_ns)

    def _guarded(self, name: str, one: Conjunction) -> float:
        """Share of the packets that come to a match and are asked about a set by it: cheap tests stand
        before, of two sets the one that leaves fewer packets."""
        mine = dict(one.tests)[name]
        guards = (
            chance(other, values)
            for other, values in one.tests
            if other not in FIELDS or (other != name and chance(other, values) < chance(name, mine))
        )
        return prod(guards)

    def _best(self, asked: Sequence[_Asked], block: Tagger, width: int) -> Sequence[_Asked]:
        """The sets that are best looked up together; none where each is better off alone."""
        if self._always:
            return asked[:MAX_MEMBERS]
        best: tuple[float, Sequence[_Asked]] = (0.0, ())
        for count in range(1, min(len(asked), MAX_MEMBERS) + 1):
            group = asked[:count]
            if sum(len(one.tests) for one in group) > 1:
                saved = self._apart(group) - self._together(group, block, width)
                best = max(best, (saved, group), key=lambda one: one[0])
        return best[1]

    def _apart(self, group: Sequence[_Asked]) -> float:
        """The price of a look-up for each: tables that are asked by turns push each other out of the caches,
        so that each read is one of all their bytes."""
        asked = read_ns(int(sum(one.alone.bytes * min(1.0, one.weight) for one in group)))
        crowded = (one.weight * max(0.0, asked - read_ns(one.alone.bytes)) for one in group)
        return sum(self._price(one.alone, one.weight) for one in group) + self._goal.latency * sum(crowded)

    def _together(self, group: Sequence[_Asked], block: Tagger, width: int) -> float:
        """The price of one look-up and the tests of bits behind it."""
        cost = block.cost(sum(len(one.held) for one in group), width)
        chains = {chain for one in group for chain in one.first}
        looks = sum(max(one.first.get(chain, 0.0) for one in group) for chain in chains)
        bits = self._goal.latency * COMPARE_NS * sum(one.weight for one in group)
        return self._price(cost, looks) + bits

    def _price(self, cost: Cost, weight: float) -> float:
        """Of a structure that a mean packet asks that often."""
        goal = self._goal
        return (
            goal.latency * cost.latency_ns * weight + goal.memory * cost.bytes + goal.update * cost.update_ns
        )

    def _held(self, group: Sequence[_Asked], block: Tagger, width: int) -> Tags:
        """Tags with all the sets as members; those of another field when they have them."""
        wanted = sorted((one.held for one in group), key=lambda values: (len(values), values.ranges[:1]))
        for known in self._tags:
            if known.width_bits == width and all(values in known.members for values in wanted):
                return known
        made = Tags(f"tags{len(self._tags)}", block.KIND, width, tuple(wanted))
        self._tags.append(made)
        return made


class _Found:
    """Sets that a field is asked about, equal ones once."""

    def __init__(self, chooser: Chooser, name: str) -> None:
        self._chooser, self._name = chooser, name
        self._alike: dict[tuple[object, ...], list[_Asked]] = {}

    def of(self, held: IntervalSet) -> _Asked:
        """What is known of a set."""
        # The key is only a hint that is fast for large sets; equality of the values decides.
        alike = self._alike.setdefault((len(held), held.ranges[:1], held.ranges[-1:]), [])
        for one in alike:
            if one.held == held:
                return one
        alike.append(_Asked(held, self._chooser.quoted(self._name, held)))
        return alike[-1]

    def __iter__(self) -> Iterator[_Asked]:
        return (one for alike in self._alike.values() for one in alike)
