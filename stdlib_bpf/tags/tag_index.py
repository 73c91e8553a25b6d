"""Tags of IPv4 addresses: an index by the upper bits, and where a chunk is mixed the boundaries inside it.

    {10.0.0.0/8}, {10.1.2.0/24}: from 0a000000 on 1, 0a010200 3, 0a010300 1, 0b000000 0
    index[0x0a00] says tag 1; index[0x0a01] says 2 boundaries inside, begin at entry 0
    entries: 0000|1 0200|3 0300|1

A word of `index` is place << 32 | boundaries inside << 16 | tag of the chunk's first key. Where no boundary
lies inside, that tag is the answer: one read. Else `entries` from `place` on are the chunk's begin and its
boundaries, each low bits << 16 | tag from there on, ascending; a halving search with a fixed number of steps
finds the last one at or below the key, so generated code has neither loop nor helper call.

Layout: `index` u64[2**16], `entries` u32[power of two], little endian, read in place.
After DXR (Zec, Rizzo, Mikuc: "DXR: towards a billion routing lookups per second in software", CCR 2012).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..numeric import np
from ..sets import IntervalSet
from ..tables.arrays import U32, U64, power_of_two, section
from ..tables.base import Cost, DataImage, rebuilt_ns
from ..tables.memory import read_ns
from .base import TAG_BITS, TAG_MASK
from .merged import merged

KIND = "tag_index"
WIDTHS = frozenset({32})

KEY_BITS = 32
INSIDE_AT, PLACE_AT = 16, 32
# A larger index was no faster up to 1,600,000 ranges: 17 and 18 bits took up to 1.9 times as long.
INDEX_BITS = 16
LOW_BITS = KEY_BITS - INDEX_BITS
BASE_NS, STEP_NS = 2.0, 1.2


def build(members: Sequence[IntervalSet], width_bits: int) -> DataImage:
    """Sections `index` and `entries`; parameters `entries_mask` (number of slots - 1) and `steps` (halvings
    of the largest chunk). ValueError for keys of another width."""
    if width_bits != KEY_BITS:
        raise ValueError(f"{KIND} holds keys of {KEY_BITS} bits, not of {width_bits}")
    bounds, tags = merged(members)
    shift, low_mask = np.uint64(LOW_BITS), np.uint64((1 << LOW_BITS) - 1)
    starts = np.arange(1 << INDEX_BITS, dtype=np.uint64) << shift
    first = np.append(np.uint64(0), tags)[np.searchsorted(bounds, starts, side="right")]
    inner = bounds & low_mask != 0
    chunk = (bounds[inner] >> shift).astype(np.int64)
    inside = np.bincount(chunk, minlength=len(starts))
    held = np.where(inside, inside + 1, 0)
    place = np.cumsum(held) - held
    counted, begins = inside.astype(np.uint64), place.astype(np.uint64)
    index = first | counted << np.uint64(INSIDE_AT) | begins << np.uint64(PLACE_AT)
    entries = np.zeros(int(held.sum()), np.uint64)
    entries[place[inside > 0]] = first[inside > 0]
    rank = np.arange(len(chunk)) - (np.cumsum(inside) - inside)[chunk]
    entries[place[chunk] + 1 + rank] = (bounds[inner] & low_mask) << np.uint64(TAG_BITS) | tags[inner]
    slots = power_of_two(entries.astype(U32))
    sections = (("index", index.astype(U64).tobytes(), 8), ("entries", slots.tobytes(), 4))
    steps = max(0, int(held.max()) - 1).bit_length()
    return DataImage(sections, (("entries_mask", len(slots) - 1), ("steps", steps)))


def model(image: DataImage, key: int, width_bits: int) -> int:
    """The tag of the last boundary at or below the key, read from the bytes as generated code does."""
    index, entries, mask = section(image, "index"), section(image, "entries"), image.parameter("entries_mask")
    word = index[key >> LOW_BITS]
    inside, at = word >> INSIDE_AT & TAG_MASK, word >> PLACE_AT
    if not inside:
        return word & TAG_MASK
    wanted = (key & (1 << LOW_BITS) - 1) << TAG_BITS | TAG_MASK
    held = inside + 1
    for _ in range(image.parameter("steps")):
        half = held >> 1
        at += half * (entries[at + half & mask] <= wanted)
        held -= half
    return entries[at & mask] & TAG_MASK


def cost(ranges: int, width_bits: int) -> Cost:
    """A read of the index, and mostly of a chunk's entries, of typical fill."""
    steps = max(1, (2 * ranges >> INDEX_BITS - 6).bit_length())
    index = 8 << INDEX_BITS
    held = 4 << max(0, 2 * ranges + min(ranges, 1 << INDEX_BITS) - 1).bit_length()
    ns = BASE_NS + read_ns(index) / 2 + read_ns(min(2 * ranges, 1 << 9) + held) + steps * STEP_NS
    return Cost(ns, 24 + 8 * steps, index + held, rebuilt_ns(ranges))
