"""Sets of unsigned integers as sorted ranges: the algebra that everything from prefixes to TCP flags shares.

Knows integers only; what a number stands for is the field table's affair. All values are immutable and
canonical (sorted, disjoint, never adjacent), so equality of sets is equality of values.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from operator import itemgetter

_LOW, _HIGH = itemgetter(0), itemgetter(1)


@dataclass(frozen=True, slots=True)
class IntervalSet:
    """`ranges`: inclusive (low, high) pairs, canonical. Build with `of` or `union_all`, not directly."""

    ranges: tuple[tuple[int, int], ...] = ()
    _count: int | None = field(default=None, init=False, repr=False, compare=False)  # kept once asked for

    @staticmethod
    def of(*ranges: tuple[int, int] | int) -> IntervalSet:
        """From ranges or single values in any order."""
        return IntervalSet.from_ranges((r, r) if isinstance(r, int) else r for r in ranges)

    @staticmethod
    def from_ranges(ranges: Iterable[tuple[int, int]]) -> IntervalSet:
        """From inclusive ranges in any order; overlapping and adjacent ones are joined. O(n log n)."""
        merged: list[tuple[int, int]] = []
        last_low = last_high = -2
        for low, high in sorted(ranges, key=_LOW):  # a third of the time of comparing pairs
            if merged and low <= last_high + 1:
                if high > last_high:
                    last_high = high
                    merged[-1] = (last_low, last_high)
            else:
                last_low, last_high = low, high
                merged.append((low, high))
        return IntervalSet(tuple(merged))

    @staticmethod
    def full(width_bits: int) -> IntervalSet:
        """Every value of that many bits."""
        return IntervalSet(((0, (1 << width_bits) - 1),))

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __len__(self) -> int:
        """Number of ranges (not of values: see `count`)."""
        return len(self.ranges)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.ranges)

    def __contains__(self, value: int) -> bool:
        i = bisect_right(self.ranges, (value, 1 << 200)) - 1
        return i >= 0 and self.ranges[i][1] >= value

    @property
    def count(self) -> int:
        """Number of values."""
        if self._count is None:
            total: int = sum(map(_HIGH, self.ranges)) - sum(map(_LOW, self.ranges)) + len(self.ranges)
            object.__setattr__(self, "_count", total)
            return total
        return self._count

    def __or__(self, other: IntervalSet) -> IntervalSet:
        return IntervalSet.from_ranges((*self.ranges, *other.ranges))

    def __and__(self, other: IntervalSet) -> IntervalSet:
        if _spans(other, self):
            return self
        if _spans(self, other):
            return other
        out: list[tuple[int, int]] = []
        a, b, i, j = self.ranges, other.ranges, 0, 0
        while i < len(a) and j < len(b):
            low, high = max(a[i][0], b[j][0]), min(a[i][1], b[j][1])
            if low <= high:
                out.append((low, high))
            if a[i][1] < b[j][1]:
                i += 1
            else:
                j += 1
        return IntervalSet(tuple(out))

    def __sub__(self, other: IntervalSet) -> IntervalSet:
        out: list[tuple[int, int]] = []
        b, j = other.ranges, 0
        for low, high in self.ranges:
            while j < len(b) and b[j][1] < low:
                j += 1
            k = j
            while k < len(b) and b[k][0] <= high:
                if b[k][0] > low:
                    out.append((low, b[k][0] - 1))
                low = b[k][1] + 1
                if low > high:
                    break
                k += 1
            if low <= high:
                out.append((low, high))
        return IntervalSet(tuple(out))

    def complement(self, width_bits: int) -> IntervalSet:
        """Every value of that many bits that is not in the set."""
        top = (1 << width_bits) - 1
        if not self.ranges or self.ranges[-1][1] > top:
            return IntervalSet.full(width_bits) - self
        gaps = [(a + 1, b - 1) for (_, a), (b, _) in pairwise(self.ranges)]
        first, last = self.ranges[0][0], self.ranges[-1][1]
        return IntervalSet(
            (*(((0, first - 1),) if first else ()), *gaps, *(((last + 1, top),) if last < top else ()))
        )

    def overlaps(self, other: IntervalSet) -> bool:
        """Whether the two sets share a value."""
        a, b, i, j = self.ranges, other.ranges, 0, 0
        while i < len(a) and j < len(b):
            if max(a[i][0], b[j][0]) <= min(a[i][1], b[j][1]):
                return True
            if a[i][1] < b[j][1]:
                i += 1
            else:
                j += 1
        return False

    def issubset(self, other: IntervalSet) -> bool:
        """Whether every value is in `other`."""
        b, j = other.ranges, 0
        for low, high in self.ranges:
            while j < len(b) and b[j][1] < low:
                j += 1
            if j == len(b) or b[j][0] > low or b[j][1] < high:
                return False
        return True

    def boundaries(self) -> list[int]:
        """The values at which membership flips, ascending: low and high+1 of each range."""
        return [bound for low, high in self.ranges for bound in (low, high + 1)]

    def prefixes(self, width_bits: int) -> Iterator[tuple[int, int]]:
        """The fewest (value, prefix_len_bits) pairs that cover exactly this set, ascending."""
        for low, high in self.ranges:
            size = high - low + 1
            if not (size & (size - 1) or low & (size - 1)):  # one block of bits, as most ranges are
                yield low, width_bits + 1 - size.bit_length()
                continue
            while low <= high:
                host_bits = (low & -low).bit_length() - 1 if low else width_bits
                host_bits = min(host_bits, (high - low + 1).bit_length() - 1)
                yield low, width_bits - host_bits
                low += 1 << host_bits


def _spans(outer: IntervalSet, inner: IntervalSet) -> bool:
    """Whether `outer` is one range with all of `inner` inside: the common case, worth no sweep."""
    if len(outer.ranges) != 1 or not inner.ranges:
        return False
    low, high = outer.ranges[0]
    return low <= inner.ranges[0][0] and inner.ranges[-1][1] <= high


EMPTY = IntervalSet()
