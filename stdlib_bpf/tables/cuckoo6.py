"""Single IPv6 addresses in a cuckoo table of whole keys, read in place: about 20 to 40 bytes each.

One mix of 64 bits of both halves of a key names two buckets, one a side; the key is in one of their two slots
each, or nowhere. All four slots are read, so the two reads of memory overlap and no branch tells which. Slots
that would be empty hold some key of the set, which makes no other key a member.

    m = ((upper * first ^ that >> 32) + lower) * second; m = (m ^ m >> 29) * third
    bucket of side 0: the top `bucket_bits` of m; of side 1: 2**bucket_bits + the next `bucket_bits`

Layout: `slots` u64[2 << bucket_bits][2][2], little endian: bucket, slot, upper and lower half.
Cuckoo hashing with buckets: Dietzfelbinger, Weidling (2007).
"""

from __future__ import annotations

from itertools import chain

from ..numeric import np
from ..sets import IntervalSet
from .arrays import U64, section
from .base import Cost, DataImage, MapImage, rebuilt_ns
from .cuckoo import Key, placed
from .memory import read_ns

KIND = "cuckoo6"
WIDTHS = frozenset({128})
UPDATABLE = False
EXACT = True

HALF = 64
HALF_MASK = (1 << HALF) - 1
SLOTS = 2
LOAD = 0.86  # of two slots a bucket, 0.897 in the limit
BASE_NS = 6.0

# Odd multipliers, one line a try: fractional digits of pi in hexadecimal, last bit set.
MIXES = (
    (0x243F6A8885A308D3, 0x13198A2E03707345, 0xA4093822299F31D1),
    (0x082EFA98EC4E6C89, 0x452821E638D01377, 0xBE5466CF34E90C6D),
    (0xC0AC29B7C97C50DD, 0x3F84D5B5B5470917, 0x9216D5D98979FB1B),
)


def entries(values: IntervalSet, width_bits: int) -> int:
    """One per value."""
    return values.count


def build(values: IntervalSet, width_bits: int, max_entries: int) -> DataImage:
    """Section `slots`; parameters `bucket_bits`, the multipliers `first`, `second`, `third`, and `some`, 0
    for the empty set. `max_entries` is not used. ValueError for keys of another width."""
    if width_bits != 2 * HALF:
        raise ValueError(f"{KIND} holds keys of {2 * HALF} bits, not of {width_bits}")
    keys = list(chain.from_iterable(range(low, high + 1) for low, high in values))
    halves = np.zeros((max(1, len(keys)), 2), np.uint64)
    halves[: len(keys), 0] = np.fromiter((key >> HALF for key in keys), np.uint64, len(keys))
    halves[: len(keys), 1] = np.fromiter((key & HALF_MASK for key in keys), np.uint64, len(keys))
    for bits in range(_bucket_bits(len(keys)), _bucket_bits(len(keys)) + 4):
        for mix in MIXES:
            m = mixed(halves[:, 0], halves[:, 1], mix)
            top, mask = m >> np.uint64(HALF - 2 * bits), np.uint64((1 << bits) - 1)
            at = np.stack([top >> np.uint64(bits), (top & mask) + np.uint64(1 << bits)]).astype(np.int64)
            places = placed(at, np.ones(at.shape, bool), 2 << bits, SLOTS)
            if places is not None:
                slots = halves[np.maximum(places, 0)].astype(U64)
                numbers = zip(("first", "second", "third"), mix, strict=True)
                parameters = (("bucket_bits", bits), ("some", int(len(keys) > 0)), *numbers)
                return DataImage((("slots", slots.tobytes(), 8),), parameters)
    raise ValueError(f"no mix of {KIND} separates {len(keys)} values")


def mixed(upper: Key, lower: Key, mix: tuple[int, int, int]) -> Key:
    """The mix of a key by its halves, or of arrays of them."""
    m = upper * mix[0] & HALF_MASK
    m = ((m ^ m >> 32) + lower) * mix[1] & HALF_MASK
    last: Key = (m ^ m >> 29) * mix[2] & HALF_MASK
    return last


def model(image: MapImage | DataImage, key: int, width_bits: int) -> bool:
    """Whether one of the key's four slots holds it."""
    assert isinstance(image, DataImage)
    slots, number = section(image, "slots"), image.parameter
    if not number("some"):
        return False
    bits, upper, lower = number("bucket_bits"), key >> HALF, key & HALF_MASK
    mix = (number("first"), number("second"), number("third"))
    m = mixed(upper, lower, mix) >> HALF - 2 * bits
    for bucket in (m >> bits, (1 << bits) + (m & (1 << bits) - 1)):
        at = 2 * SLOTS * bucket
        if (upper, lower) in ((slots[at], slots[at + 1]), (slots[at + 2], slots[at + 3])):
            return True
    return False


def cost(values: IntervalSet, width_bits: int, max_entries: int) -> Cost:
    """Two reads that overlap."""
    size = 2 * 8 * 2 * SLOTS << _bucket_bits(values.count)
    return Cost(BASE_NS + read_ns(size), 45, size, rebuilt_ns(values.count))


def _bucket_bits(count: int) -> int:
    return max(2, int(count / LOAD / (2 * SLOTS)).bit_length())
