"""Sets as arrays and images as arrays: what the builders of in-place tables share.

Only building and models need numpy. The runtime builds no table that is read in place: a bundle brings their
bytes, and sets that change while a policy runs are kernel maps, whose keys `stdlib_bpf.lpm_key` lays out.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any

from ..numeric import np
from ..sets import IntervalSet
from .base import DataImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Words = NDArray[np.uint64]
    Numbers = NDArray[np.int64]

FEW_RANGES = 256
U16, U32, U64 = "<u2", "<u4", "<u8"  # elements of sections


def flips(values: IntervalSet, width_bits: int) -> Words:
    """The boundaries of a set of at most 63 bits, ascending, without one past the domain."""
    found = np.fromiter(chain.from_iterable(values.ranges), np.uint64, 2 * len(values))
    found[1::2] += np.uint64(1)
    past = len(found) > 0 and int(found[-1]) >> width_bits
    return found[:-1] if past else found


def members(values: IntervalSet) -> Words:
    """Every value of a set of at most 63 bits, ascending."""
    ends = np.fromiter(chain.from_iterable(values.ranges), np.uint64, 2 * len(values))
    sizes = (ends[1::2] - ends[::2] + np.uint64(1)).astype(np.int64)
    before = np.cumsum(sizes) - sizes
    total = int(sizes.sum())
    numbers: Words = np.arange(total, dtype=np.uint64)
    return numbers + np.repeat(ends[::2] - before.astype(np.uint64), sizes)


def prefixes(values: IntervalSet) -> tuple[Numbers, Numbers]:
    """The fewest prefixes that are a set of at most 62 bits, ascending: their lowest values, and log2 of how
    many values each has."""
    begin, middle, end = _halves(values)
    parts = []
    for at, left, step in ((begin, middle - begin, 1), (end, end - middle, -1)):  # towards wider ones
        while len(at := at[left > 0]):
            left = left[left > 0]
            size = left & -left
            parts.append((at if step > 0 else at - size, size))
            at, left = at + step * size, left - size
    lows, sizes = (np.concatenate([part[i] for part in parts] or [np.zeros(0, np.int64)]) for i in (0, 1))
    order = np.argsort(lows)
    return lows[order], np.frexp(sizes[order].astype(np.float64))[1].astype(np.int64) - 1


def count_prefixes(values: IntervalSet) -> int:
    """How many `prefixes` there are. Of few ranges without numpy, which whoever only checks need not load."""
    if len(values) <= FEW_RANGES:
        return sum(_prefixes_of(low, high + 1) for low, high in values.ranges)
    begin, middle, end = _halves(values)
    return int(np.bitwise_count(middle - begin).sum() + np.bitwise_count(end - middle).sum())


def _prefixes_of(begin: int, end: int) -> int:
    """How many prefixes are one range: up to its most aligned value, a bit each; behind it likewise."""
    top = (begin ^ end).bit_length() - 1
    middle = end >> top << top
    return (middle - begin).bit_count() + (end - middle).bit_count()


def _halves(values: IntervalSet) -> tuple[Numbers, Numbers, Numbers]:
    """Of each range its begin, the most aligned value inside or behind it, and what lies behind it."""
    ends = np.fromiter(chain.from_iterable(values.ranges), np.int64, 2 * len(values))
    begin, end = ends[::2], ends[1::2] + 1
    top = np.frexp((begin ^ end).astype(np.float64))[1].astype(np.int64) - 1  # of the bits that differ
    return begin, end >> top << top, end


def power_of_two(words: NDArray[Any]) -> NDArray[Any]:
    """Filled up with zeros, so that a mask keeps every index inside; at least one element."""
    slots = 1 << max(0, len(words) - 1).bit_length()
    return np.concatenate([words, np.zeros(slots - len(words), words.dtype)])


@lru_cache(maxsize=64)
def section(image: DataImage, name: str) -> memoryview:
    """A section as unsigned integers in the machine's order."""
    data, size = next((data, size) for title, data, size in image.sections if title == name)
    little = np.frombuffer(data, f"<u{size}")
    native: Any = little.astype(f"=u{size}")
    return memoryview(native)
