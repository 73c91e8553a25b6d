"""Tags of IPv4 addresses: an index by the upper bits, and where a chunk is mixed the boundaries inside it.

    {10.0.0.0/8}, {10.1.2.0/24}: from 0a000000 on 1, 0a010200 3, 0a010300 1, 0b000000 0
    index_bits 16: index[0x0a00] says tag 1; index[0x0a01] says 2 boundaries inside, begin at entry 0
    entries: 0000|1 0200|3 0300|1

A word of `index` is place << 32 | boundaries inside << 16 | tag of the chunk's first key. Where no boundary
lies inside, that tag is the answer: one read. Else `entries` from `place` on are the chunk's begin and its
boundaries, each low bits << 16 | tag from there on, ascending; a halving search with a fixed number of steps
finds the last one at or below the key, so generated code has neither loop nor helper call.

Layout: `index` u64[2**index_bits], `entries` u32[power of two], little endian, read in place.
After DXR (Zec, Rizzo, Mikuc: "DXR: towards a billion routing lookups per second in software", CCR 2012).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..numeric import np
from ..sets import IntervalSet
from ..tables.arrays import U32, U64, power_of_two, section
from ..tables.base import Cost, DataImage, rebuilt_ns
from ..tables.memory import read_ns
from .base import MAX_MEMBERS
from .merged import merged

KIND = "tag_index"
WIDTHS = frozenset({32})

KEY_BITS, TAG_BITS = 32, MAX_MEMBERS
TAG_MASK = (1 << TAG_BITS) - 1
INSIDE_AT, PLACE_AT = 16, 32
INDEX_BITS = ((600_000, 18), (0, 16))  # (ranges of all members, bits of the index for so many and more)
BASE_NS, STEP_NS = 2.0, 1.2


def build(members: Sequence[IntervalSet], width_bits: int) -> DataImage:
    """Sections `index` and `entries`; parameters `index_bits`, `entries_mask` (number of slots - 1) and
    `steps` (halvings of the largest chunk). ValueError for keys of another width."""
    if width_bits != KEY_BITS:
        raise ValueError(f"{KIND} holds keys of {KEY_BITS} bits, not of {width_bits}")
    bounds, tags = merged(members, KEY_BITS)
    index_bits = _index_bits(sum(map(len, members)))
    low_bits = np.uint64(KEY_BITS - index_bits)
    starts = np.arange(1 << index_bits, dtype=np.uint64) << low_bits
    first = np.concatenate([[np.uint64(0)], tags])[np.searchsorted(bounds, starts, side="right")]
    inner = bounds & (np.uint64(1) << low_bits) - np.uint64(1) != 0
    chunk = (bounds[inner] >> low_bits).astype(np.int64)
    inside = np.bincount(chunk, minlength=len(starts))
    held = np.where(inside, inside + 1, 0)
    place = np.cumsum(held) - held
    index = (
        first
        | inside.astype(np.uint64) << np.uint64(INSIDE_AT)
        | place.astype(np.uint64) << np.uint64(PLACE_AT)
    )
    entries = np.zeros(int(held.sum()), np.uint64)
    entries[place[inside > 0]] = first[inside > 0]
    rank = np.arange(len(chunk)) - (np.cumsum(inside) - inside)[chunk]
    lows = bounds[inner] & (np.uint64(1) << low_bits) - np.uint64(1)
    entries[place[chunk] + 1 + rank] = lows << np.uint64(TAG_BITS) | tags[inner]
    slots = power_of_two(entries.astype(U32))
    sections = (("index", index.astype(U64).tobytes(), 8), ("entries", slots.tobytes(), 4))
    steps = max(0, int(held.max()) - 1).bit_length()
    return DataImage(
        sections, (("index_bits", index_bits), ("entries_mask", len(slots) - 1), ("steps", steps))
    )


def model(image: DataImage, key: int, width_bits: int) -> int:
    """The tag of the last boundary at or below the key, read from the bytes as generated code does."""
    index, entries = section(image, "index"), section(image, "entries")
    low_bits, mask = width_bits - image.parameter("index_bits"), image.parameter("entries_mask")
    word = index[key >> low_bits]
    inside, at = word >> INSIDE_AT & TAG_MASK, word >> PLACE_AT
    if not inside:
        return word & TAG_MASK
    wanted = (key & (1 << low_bits) - 1) << TAG_BITS | TAG_MASK
    held = inside + 1
    for _ in range(image.parameter("steps")):
        half = held >> 1
        at += half * (entries[at + half & mask] <= wanted)
        held -= half
    return entries[at & mask] & TAG_MASK


def cost(ranges: int, width_bits: int) -> Cost:
    """A read of the index, and mostly of a chunk's entries, of typical fill."""
    index_bits = _index_bits(ranges)
    steps = max(1, (2 * ranges >> index_bits - 6).bit_length())
    index_bytes = 8 << index_bits
    held = 4 << max(0, 2 * ranges + min(ranges, 1 << index_bits) - 1).bit_length()
    ns = BASE_NS + read_ns(index_bytes) / 2 + read_ns(min(2 * ranges, 1 << 9) + held) + steps * STEP_NS
    return Cost(ns, 24 + 8 * steps, index_bytes + held, rebuilt_ns(ranges))


def _index_bits(ranges: int) -> int:
    return next(bits for least, bits in INDEX_BITS if ranges >= least)
