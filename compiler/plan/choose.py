"""Where a set is kept: in the program, or in which lookup structure. By predicted cost, the same set once.

Knows the blocks of `stdlib_bpf.tables` by their contract only; a new block takes part as soon as it is in
`tables.ALL`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from lockgate.stdlib_bpf import classifiers, fields, tables
from lockgate.stdlib_bpf.sets import EMPTY, IntervalSet

from .builder import Builder
from .inline import Inline, inline
from .ir import InTable, Table

INLINE = "inline"
STRUCTURES = frozenset({INLINE, *tables.ALL, *classifiers.ALL})
LIVE_KIND = "lpm_trie"  # what holds a dynamic set: prefixes that come and go one by one

# Where the choice is open. Other fields are narrow or guard others, and stay in the program.
TABLE_FIELDS = frozenset({"ip4.src", "ip4.dst", "ip6.src", "ip6.dst", "th.sport", "th.dport"})
MAX_INLINE_RANGES = {16: 128, 32: 32, 128: 16}  # per width in bits: code size, not time, is the reason
BYTES_PER_NS = 64 << 10  # what a table takes from the caches of everything else, charged as time
MAX_EXACT_VALUES = 1 << 20


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


Form = Inline | Lookup


class Chooser:
    """The tables of one plan, in order of first use. `structures`: names allowed, of STRUCTURES; inline is
    the last resort even when it is not among them. `live`: dynamic sets and their numbers of entries."""

    def __init__(self, structures: frozenset[str], live: dict[str, int]) -> None:
        self._structures = structures
        self._live = live
        self._tables: list[Table] = []
        self._placed: dict[tuple[int, int, bool], Lookup | None] = {}
        self._static: dict[tuple[str, int, int, int, int], list[Table]] = {}

    @property
    def tables(self) -> tuple[Table, ...]:
        """Every table chosen so far."""
        return tuple(self._tables)

    def choose(self, field: str, values: IntervalSet, invertible: bool) -> Form:
        """How to test that the field, or live field, lies in `values`."""
        if (live := fields.split_live(field)) is not None:
            return self._choose_live(*live, member=1 in values)
        width = fields.BY_NAME[field].width_bits
        if field not in TABLE_FIELDS:
            return inline(field, values, width, invertible)
        key = (width, id(values), invertible)  # the program keeps the set, and so its id, alive
        if key not in self._placed:
            self._placed[key] = self._place(field, values, width, invertible)
        placed = self._placed[key]
        return inline(field, values, width, invertible) if placed is None else replace(placed, field=field)

    def _place(self, field: str, values: IntervalSet, width: int, invertible: bool) -> Lookup | None:
        """The table for a set, None when it is better off in the program."""
        if len(values) <= MAX_INLINE_RANGES[width] and INLINE in self._structures:
            form = inline(field, values, width, invertible)
            if form.nodes == 1:
                return None
            best = self._best(values, width)
            return None if best is None or form.latency_ns <= best[1] else self._lookup(field, values, *best)
        inverted = invertible and _complement_is_smaller(values, width)
        held = values.complement(width) if inverted else values
        best = self._best(held, width) if held else None
        return None if best is None else self._lookup(field, held, *best, inverted)

    def _best(self, values: IntervalSet, width_bits: int) -> tuple[str, float] | None:
        """(kind, price in ns) of the cheapest structure that can hold the values."""
        count = values.count
        found: list[tuple[float, str]] = []
        for kind, block in tables.ALL.items():
            if kind not in self._structures or width_bits not in block.WIDTHS:
                continue
            if block.EXACT and count > MAX_EXACT_VALUES:
                continue
            cost = block.cost(values, width_bits, count if block.EXACT else len(values))
            found.append((cost.latency_ns + cost.bytes / BYTES_PER_NS, kind))
        if not found:
            return None
        price, kind = min(found)
        return kind, price

    def _lookup(
        self, field: str, values: IntervalSet, kind: str, latency_ns: float, inverted: bool = False
    ) -> Lookup:
        width = fields.BY_NAME[field].width_bits
        return Lookup(field, self._static_table(kind, width, values).name, latency_ns, inverted)

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


def _complement_is_smaller(values: IntervalSet, width_bits: int) -> bool:
    """Whether the complement has fewer ranges; of equals the one without the value 0 is kept, so that a set
    and its complement share one table."""
    zero = values.ranges[0][0] == 0
    last = values.ranges[-1][1] == (1 << width_bits) - 1
    difference = 1 - zero - last  # ranges of the complement minus ranges of the set
    return difference < 0 or (difference == 0 and zero)
