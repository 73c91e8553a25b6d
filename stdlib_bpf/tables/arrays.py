"""Sets as arrays and images as arrays: what the builders of in-place tables share.

Only building and models need numpy. The runtime builds no table that is read in place: a bundle brings their
bytes, and sets that change while a policy runs are kernel maps, whose keys `stdlib_bpf.lpm_key` lays out.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain
from operator import eq, itemgetter
from typing import TYPE_CHECKING, Any

from ..numeric import np
from ..sets import IntervalSet
from .base import DataImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Words = NDArray[np.uint64]

U16, U32, U64 = "<u2", "<u4", "<u8"  # elements of sections
_LOW, _HIGH = itemgetter(0), itemgetter(1)


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


def singles(values: IntervalSet) -> int:
    """How many of the ranges are one value."""
    return sum(map(eq, map(_LOW, values.ranges), map(_HIGH, values.ranges)))


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
