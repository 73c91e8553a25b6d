"""A small set as comparisons in the program itself, no table.

Three forms, the cheapest is taken: one masked comparison when the set is a block of bits (10.0.0.0/8,
`flags syn/syn,ack`); a line of ranges; a balanced tree over the boundaries when ranges are many. Each is also
tried on the complement with `yes` and `no` swapped: "not 22" is one comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from lockgate.stdlib_bpf.sets import IntervalSet

from .builder import Builder
from .ir import Between, Masked, Test

LINE_RANGES = 8  # a line is no slower than a tree up to here
REMEMBERED_RANGES = 16
COMPARE_NS = 1.0
TREE_LEVEL_NS = 2.5  # branches of a tree are predicted badly


@dataclass(frozen=True)
class Inline:
    """How to test a set inline. `tests`: one of them must hold (a line); `boundaries`: membership flips at
    each of them, ascending (a tree, then `tests` is empty); `inverted`: yes and no change places."""

    field: str
    tests: tuple[Test, ...] = ()
    boundaries: tuple[int, ...] = ()
    inverted: bool = False

    @property
    def nodes(self) -> int:
        """Branches it becomes."""
        return len(self.tests) or len(self.boundaries)

    @property
    def latency_ns(self) -> float:
        """Predicted time of the worst way through."""
        if self.tests:
            return COMPARE_NS * len(self.tests)
        return TREE_LEVEL_NS * len(self.boundaries).bit_length()

    def emit(self, builder: Builder, yes: int, no: int, rule: int | None) -> int:
        """Grow the nodes; the handle of the first one."""
        if self.inverted:
            yes, no = no, yes
        if self.tests:
            for test in reversed(self.tests):
                no = builder.branch(test, yes, no, rule)
            return no
        return self._tree(builder, 0, len(self.boundaries), yes, no, rule)

    def _tree(self, builder: Builder, first: int, last: int, yes: int, no: int, rule: int | None) -> int:
        """Decide among gaps first..last: a value with k boundaries at or below it is in when k is odd."""
        if first == last:
            return yes if first & 1 else no
        middle = (first + last) // 2
        below = self._tree(builder, first, middle, yes, no, rule)
        above = self._tree(builder, middle + 1, last, yes, no, rule)
        return builder.branch(Between(self.field, 0, self.boundaries[middle] - 1), below, above, rule)


def inline(field: str, values: IntervalSet, width_bits: int, invertible: bool) -> Inline:
    """The cheapest inline form of a test. `invertible`: the field is surely present where the test stands, so
    that not in the complement means in the set; else only a line will do, where every no is a no."""
    # Asked twice for every set (to compare, then to emit), and of few protocols and ports a thousand times.
    ask = _inline if len(values) <= REMEMBERED_RANGES else _inline.__wrapped__
    return ask(field, values, width_bits, invertible)


@lru_cache(maxsize=4096)
def _inline(field: str, values: IntervalSet, width_bits: int, invertible: bool) -> Inline:
    if not invertible:
        return Inline(field, tests=tuple(Between(field, *r) for r in values))
    forms = [_form(field, values, width_bits, inverted=False)]
    if rest := values.complement(width_bits):
        forms.append(_form(field, rest, width_bits, inverted=True))
    return min(forms, key=lambda form: (form.latency_ns, form.nodes))


def _form(field: str, values: IntervalSet, width_bits: int, inverted: bool) -> Inline:
    block = _block(values, width_bits)
    if block is not None:
        mask, value = block
        exact = mask == (1 << width_bits) - 1
        test: Test = Between(field, value, value) if exact else Masked(field, mask, value)
        return Inline(field, tests=(test,), inverted=inverted)
    if len(values) <= LINE_RANGES:
        return Inline(field, tests=tuple(Between(field, *r) for r in values), inverted=inverted)
    boundaries = values.boundaries()
    if boundaries[-1] == 1 << width_bits:
        boundaries.pop()
    if boundaries[0] == 0:  # the value 0 is in: start counting from outside
        return Inline(field, boundaries=tuple(boundaries[1:]), inverted=not inverted)
    return Inline(field, boundaries=tuple(boundaries), inverted=inverted)


def _block(values: IntervalSet, width_bits: int) -> tuple[int, int] | None:
    """(mask, value) when the set is exactly {x : x & mask == value} with a mask that is not zero."""
    full = (1 << width_bits) - 1
    if len(values) == 1:
        low, high = values.ranges[0]
        free = low ^ high
        aligned = free & (free + 1) == 0 and low & free == 0
        # Ranges that one comparison decides anyway stay ranges, which read better.
        decided = width_bits <= 16 and low != high
        return (full & ~free, low) if aligned and free != full and not decided else None
    if width_bits > 8:
        return None
    every, some = full, 0
    for low, high in values:
        for value in range(low, high + 1):
            every, some = every & value, some | value
    mask = full & ~(every ^ some)
    return (mask, every) if mask and values.count == 1 << (width_bits - mask.bit_count()) else None
