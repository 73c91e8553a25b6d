"""Where a set is kept: in the program, or in which lookup structure. By predicted cost, the same set once.

Knows the blocks of `stdlib_bpf.tables` by their contract only; a new block takes part as soon as it is in
`tables.ALL`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from lockgate.stdlib_bpf import classifiers, fields, tables, tags
from lockgate.stdlib_bpf.sets import EMPTY, IntervalSet
from lockgate.stdlib_bpf.tables import Cost
from lockgate.stdlib_bpf.tables.base import REPLACE_NS

from .builder import Builder
from .inline import COMPARE_NS, Inline, inline
from .ir import InTable, Table, Tagged

INLINE = "inline"
STRUCTURES = frozenset({INLINE, *tables.ALL, *classifiers.ALL, *tags.ALL})
LIVE_KIND = "lpm_trie"  # what holds a dynamic set: prefixes that come and go one by one

# Where the choice is open. Other fields are narrow or guard others, and stay in the program.
TABLE_FIELDS = frozenset({"ip4.src", "ip4.dst", "ip6.src", "ip6.dst", "th.sport", "th.dport"})
MAX_INLINE_RANGES = {16: 128, 32: 32, 128: 16}  # per width in bits: code size, not time, is the reason
MAX_EXACT_VALUES = 1 << 22
NODE_BYTES = 24  # of machine code, of a comparison


@dataclass(frozen=True)
class Goal:
    """What a structure is chosen for: weights of a nanosecond of a lookup, of a byte, and of a nanosecond of
    changing an entry."""

    latency: float
    memory: float
    update: float

    def price(self, cost: Cost) -> float:
        """Less is better."""
        return self.latency * cost.latency_ns + self.memory * cost.bytes + self.update * cost.update_ns

    def seldom(self, share: float) -> Goal:
        """The goal for what only that share of all packets is asked: time counts so much less."""
        return replace(self, latency=self.latency * max(LEAST_SHARE, min(1.0, share)))


LEAST_SHARE = 0.02  # traffic changes, and a profile is of yesterday
CACHE = 1 / (64 << 10)  # what a byte takes from the caches of everything else, in ns
GOALS = {
    "latency": Goal(1.0, CACHE, 0.0),
    "memory": Goal(1.0, 1.0, 0.0),
    "update": Goal(1.0, CACHE, 0.001),
}
LATENCY = GOALS["latency"]
TIGHTER, TIGHTEST = 8.0, 1.0  # factor and end of the weights of a byte that are tried where memory is short


def tightening(goal: Goal) -> Iterator[Goal]:
    """The goal, then the same with bytes ever dearer, until nothing else counts."""
    while True:
        yield goal
        if goal.memory >= TIGHTEST:
            return
        goal = replace(goal, memory=min(TIGHTEST, goal.memory * TIGHTER))


@dataclass(frozen=True)
class Lookup:
    """How to test a set by a table. `inverted`: the table holds the complement."""

    field: str
    table: str
    latency_ns: float
    inverted: bool = False
    nodes: int = 1

    def emit(self, builder: Builder, yes: int, no: int, rule: int | None) -> int:
        """Grow the node; its handle."""
        if self.inverted:
            yes, no = no, yes
        return builder.branch(InTable(self.field, self.table), yes, no, rule)


@dataclass(frozen=True)
class Bit:
    """How to test a set that is looked up together with others. `inverted`: the member is the complement."""

    field: str
    tags: str
    member: int
    inverted: bool = False
    nodes: int = 1
    latency_ns: float = COMPARE_NS

    def emit(self, builder: Builder, yes: int, no: int, rule: int | None) -> int:
        """Grow the node; its handle."""
        if self.inverted:
            yes, no = no, yes
        return builder.branch(Tagged(self.field, self.tags, self.member), yes, no, rule)


Form = Inline | Lookup | Bit


@dataclass(frozen=True)
class _Candidate:
    """A structure for a set. `side`: place of what is held among the set and its complement."""

    price: float
    side: int
    kind: str
    latency_ns: float
    inverted: bool
    held: IntervalSet


class Chooser:
    """The tables of one plan, in order of first use. `structures`: names allowed, of STRUCTURES; inline is
    the last resort even when it is not among them. `live`: dynamic sets and their numbers of entries."""

    def __init__(self, structures: frozenset[str], live: dict[str, int], goal: Goal = LATENCY) -> None:
        self._structures = structures
        self._goal = goal
        self._live = live
        self._tables: list[Table] = []
        self._bits: dict[tuple[str, int], Bit] = {}
        self._placed: dict[tuple[int, int, bool], Lookup | None] = {}
        self._static: dict[tuple[str, int, int, int, int], list[Table]] = {}

    @property
    def tables(self) -> tuple[Table, ...]:
        """Every table chosen so far."""
        return tuple(self._tables)

    def choose(self, field: str, values: IntervalSet, invertible: bool, share: float = 1.0) -> Form:
        """How to test that the field, or live field, lies in `values`. `share`: of all packets that are asked
        this; a set has the structure that suits who asks first."""
        if (live := fields.split_live(field)) is not None:
            return self._choose_live(*live, member=1 in values)
        if (bit := self._bits.get((field, id(values)))) is not None:
            return bit
        width = fields.lookup(field).width_bits
        if field not in TABLE_FIELDS:
            return inline(field, values, width, invertible)
        key = (width, id(values), invertible)  # the program keeps the set, and so its id, alive
        if key not in self._placed:
            self._placed[key] = self._place(field, values, width, invertible, self._goal.seldom(share))
        placed = self._placed[key]
        return inline(field, values, width, invertible) if placed is None else replace(placed, field=field)

    def tagged(self, values: IntervalSet, bit: Bit) -> None:
        """From here on a set is asked for so."""
        self._bits[bit.field, id(values)] = bit

    def quoted(self, field: str, values: IntervalSet) -> Cost:
        """What a set of addresses costs that is asked for by itself; no table is made."""
        width = fields.lookup(field).width_bits
        best = self._candidate(field, values, width, True, self._goal)
        if best is None:
            return _in_code(inline(field, values, width, True))
        block = tables.ALL[best.kind]
        return block.cost(best.held, width, best.held.count if block.EXACT else len(best.held))

    def _place(
        self, field: str, values: IntervalSet, width: int, invertible: bool, goal: Goal
    ) -> Lookup | None:
        """The table for a set, None when it is better off in the program."""
        best = self._candidate(field, values, width, invertible, goal)
        return None if best is None else self._lookup(field, best)

    def _candidate(
        self, field: str, values: IntervalSet, width: int, invertible: bool, goal: Goal
    ) -> _Candidate | None:
        """The structure for a set, None when it is better off in the program."""
        best = self._best(values, width, invertible, goal) if values else None
        if len(values) <= MAX_INLINE_RANGES[width] and INLINE in self._structures:
            form = inline(field, values, width, invertible)
            if form.nodes == 1 or best is None or goal.price(_in_code(form)) <= best.price:
                return None
        return best

    def _best(self, values: IntervalSet, width_bits: int, invertible: bool, goal: Goal) -> _Candidate | None:
        """The cheapest structure that can hold the values or, turned round, their complement. Of equals the
        smaller of the two, so that a set and its complement share one table."""
        sides = [(False, values)]
        if invertible and (other := values.complement(width_bits)):
            sides.insert(0 if _complement_is_smaller(values, width_bits) else 1, (True, other))
        found = [
            _Candidate(goal.price(cost), side, kind, cost.latency_ns, inverted, held)
            for side, (inverted, held) in enumerate(sides)
            for kind, cost in self._costs(held, width_bits)
        ]
        return min(found, key=lambda one: (one.price, one.side, one.kind), default=None)

    def _costs(self, values: IntervalSet, width_bits: int) -> Iterator[tuple[str, Cost]]:
        """The structures that can hold the values, and what they would cost."""
        count = values.count
        for kind, block in tables.ALL.items():
            if kind not in self._structures or width_bits not in block.WIDTHS:
                continue
            if not block.EXACT or count <= MAX_EXACT_VALUES:
                yield kind, block.cost(values, width_bits, count if block.EXACT else len(values))

    def _lookup(self, field: str, best: _Candidate) -> Lookup:
        width = fields.BY_NAME[field].width_bits
        table = self._static_table(best.kind, width, best.held)
        return Lookup(field, table.name, best.latency_ns, best.inverted)

    def _static_table(self, kind: str, width_bits: int, values: IntervalSet) -> Table:
        # The key is only a hint that is fast for large sets; equality of the values decides.
        key = (kind, width_bits, len(values), values.ranges[0][0], values.ranges[-1][1])
        alike = self._static.setdefault(key, [])
        for table in alike:
            if table.values == values:
                return table
        entries = tables.ALL[kind].entries(values, width_bits)
        table = Table(self._name("set"), kind, width_bits, values, entries)
        alike.append(table)
        self._tables.append(table)
        return table

    def _choose_live(self, field: str, set_name: str, member: bool) -> Lookup:
        width = fields.BY_NAME[field].width_bits
        entries = self._live[set_name]
        ns = tables.ALL[LIVE_KIND].cost(EMPTY, width, entries).latency_ns
        for table in self._tables:
            if table.live == set_name and table.width_bits == width:
                return Lookup(field, table.name, ns, inverted=not member)
        family = "v4" if width == 32 else "v6"
        stem = re.sub(r"\W", "_", f"set_{set_name}_{family}", flags=re.ASCII)
        names = {table.name for table in self._tables}
        name = stem if stem not in names else self._name(f"{stem}_")
        self._tables.append(Table(name, LIVE_KIND, width, EMPTY, entries, set_name))
        return Lookup(field, name, ns, inverted=not member)

    def _name(self, stem: str) -> str:
        names = {table.name for table in self._tables}
        return next(name for i in range(len(names) + 1) if (name := f"{stem}{i}") not in names)


def _in_code(form: Inline) -> Cost:
    return Cost(form.latency_ns, 2 * form.nodes, NODE_BYTES * form.nodes, REPLACE_NS)


def smaller_side(values: IntervalSet, width_bits: int) -> tuple[IntervalSet, bool]:
    """A set or its complement, whichever has fewer ranges, and whether it is the complement: the same one for
    both."""
    if values and _complement_is_smaller(values, width_bits):
        return values.complement(width_bits), True
    return values, False


def _complement_is_smaller(values: IntervalSet, width_bits: int) -> bool:
    """Whether the complement has fewer ranges; of equals the one without the value 0 is kept, so that a set
    and its complement share one table."""
    zero = values.ranges[0][0] == 0
    last = values.ranges[-1][1] == (1 << width_bits) - 1
    difference = 1 - zero - last  # ranges of the complement minus ranges of the set
    return difference < 0 or (difference == 0 and zero)
