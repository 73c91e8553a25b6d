"""IPv4 ranges as a rank: a key is in the set when an odd number of boundaries is at or below it.

Boundaries are the values at which membership flips: of each range its low end and the value behind its high
end, unless that is 2^32. The top bits of a key select a chunk; `index` says how many boundaries lie before
each chunk, `bounds` holds the low bits of all boundaries, ascending. Within the chunk a halving search with a
fixed number of steps counts those at or below the key, so generated code has neither loop nor helper call.

    {10.0.0.0/8, 192.0.2.7}: boundaries 0a000000 0b000000 c0000207 c0000208
    index_bits 16: index[0x0a00]=0 index[0x0a01]=1 … index[0xc000]=2 index[0xc001]=4; bounds 0 0 0x207 0x208
    key 10.1.2.3: chunk 0x0a01 holds none, index says 1: odd, in the set

Layout: `index` u32[2**index_bits + 1], `bounds` u16[power of two], little endian, read in place.
After DXR (Zec, Rizzo, Mikuc: "DXR: towards a billion routing lookups per second in software", CCR 2012),
reduced to membership. Measured: `docs/internals/tables.md`.
"""

from __future__ import annotations

from ..numeric import np
from ..sets import IntervalSet
from .arrays import U32, flips, power_of_two, section
from .base import Cost, DataImage, MapImage, rebuilt_ns
from .memory import read_ns

KIND = "range_index"
WIDTHS = frozenset({32})
UPDATABLE = False
EXACT = False

KEY_BITS = 32
# (ranges, bits of the index for so many and more). Not fewer than 16, since `bounds` has room for 16 low
# bits. What a larger index spares in the search it costs in cache misses: at 100,000 prefixes 17 bits took
# 1.6 times as long and 18 bits 1.8 times; at a million, where every search misses, 0.85 and 0.79 times.
INDEX_BITS = ((600_000, 18), (0, 16))
CALL_FREE_NS = 2.0
STEP_NS = 1.2


def entries(values: IntervalSet, width_bits: int) -> int:
    """One per range."""
    return len(values)


def build(values: IntervalSet, width_bits: int, max_entries: int) -> DataImage:
    """Sections `index` and `bounds`; parameters `index_bits`, `bounds_mask` (number of slots - 1) and `steps`
    (halvings of the largest chunk). `max_entries` is not used. ValueError for keys of another width."""
    if width_bits != KEY_BITS:
        raise ValueError(f"range_index holds keys of 32 bits, not of {width_bits}")
    bounds = flips(values, KEY_BITS)
    index_bits = _index_bits(len(values))
    low_bits = KEY_BITS - index_bits
    counts = np.bincount((bounds >> np.uint64(low_bits)).astype(np.int64), minlength=1 << index_bits)
    index = np.concatenate([[0], np.cumsum(counts)]).astype(U32)
    lows = power_of_two((bounds & np.uint64((1 << low_bits) - 1)).astype("<u2"))
    steps = max(0, int(counts.max()) - 1).bit_length()
    return DataImage(
        sections=(("index", index.tobytes(), 4), ("bounds", lows.tobytes(), 2)),
        parameters=(("index_bits", index_bits), ("bounds_mask", len(lows) - 1), ("steps", steps)),
    )


def model(image: MapImage | DataImage, key: int, width_bits: int) -> bool:
    """Parity of the number of boundaries at or below the key, read from the bytes as generated code does."""
    assert isinstance(image, DataImage)
    index, bounds = section(image, "index"), section(image, "bounds")
    low_bits = width_bits - image.parameter("index_bits")
    mask = image.parameter("bounds_mask")
    chunk, low = key >> low_bits, key & ((1 << low_bits) - 1)
    position = index[chunk]
    length = index[chunk + 1] - position
    if length == 0:
        return bool(position & 1)
    for _ in range(image.parameter("steps")):
        half = length >> 1
        # With half 0 this reads some slot of the table and adds nothing.
        position += half * (bounds[(position + half - 1) & mask] <= low)
        length -= half
    position += bounds[position & mask] <= low
    return bool(position & 1)


def cost(values: IntervalSet, width_bits: int, max_entries: int) -> Cost:
    """Two dependent reads and the halvings of a chunk of typical fill."""
    return cost_of(len(values))


def cost_of(ranges: int) -> Cost:
    """The cost of a table of that many ranges."""
    bounds = 2 * ranges
    index_bits = _index_bits(ranges)
    index_bytes = 4 << index_bits
    steps = max(1, (bounds >> index_bits - 6).bit_length())
    held = 2 << max(0, bounds - 1).bit_length()
    ns = CALL_FREE_NS + read_ns(index_bytes) / 2 + read_ns(min(bounds, 1 << 9) + held) + steps * STEP_NS
    return Cost(ns, 18 + 8 * steps, index_bytes + held, rebuilt_ns(ranges))


def _index_bits(ranges: int) -> int:
    return next(bits for least, bits in INDEX_BITS if ranges >= least)
