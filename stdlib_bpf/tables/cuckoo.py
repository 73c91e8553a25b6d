"""Single IPv4 addresses, two bytes each at a million: a quotient cuckoo table, read in place.

A key is mixed twice by bijections of 32 bits (`mix`: odd multipliers and shifts), one for each side of the
table. The top bits of a mix name a bucket of the side, its low bits are the fingerprint that one of the
bucket's lanes must hold. Bucket and fingerprint together are all bits of the mix, so a match is exact and the
key itself is nowhere. Both buckets are always read, so the two reads overlap and no branch tells which.

    bucket_bits 17, 16-bit lanes: key 10.1.2.3, mixes 5c0e9a41 and 93d1e22f
    side 0: bucket 5c0e9a41 >> 15, fingerprint 9a41; side 1: bucket 2**17 + (93d1e22f >> 15), fingerprint e22f

A lane of 0 is empty. A key whose fingerprint is 0 on a side lives on the other; should it be 0 on both, the
next mix is taken. Layout: `buckets` u64[2 << bucket_bits], little endian, four lanes of 16 bits, or two of 32
while that is smaller (fewer than 2**16 buckets a side leave more than 16 bits of a mix to tell apart).
Cuckoo hashing with buckets: Dietzfelbinger, Weidling (2007); quotienting: Knuth, vol. 3, 6.4, exercise 13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..numeric import np
from ..sets import IntervalSet
from .arrays import members, section
from .base import Cost, DataImage, MapImage, rebuilt_ns
from .memory import read_ns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .arrays import Words

KIND = "cuckoo"
WIDTHS = frozenset({32})
UPDATABLE = False
EXACT = True

Key = TypeVar("Key", int, "NDArray[Any]")
KEY_BITS = 32
WORD = (1 << KEY_BITS) - 1
BASE_NS = 3.0


@dataclass(frozen=True)
class Lanes:
    """How a bucket's 64 bits are divided: lanes of `bits`, at least `least` bits of bucket number a side, and
    the share of lanes that can be filled within `ROUNDS`."""

    bits: int
    least: int
    load: float

    def bucket_bits(self, count: int) -> int:
        """Bits of bucket number a side, for that many keys."""
        buckets = int(count / self.load) // (2 * 64 // self.bits) + 1
        return max(self.least, (buckets - 1).bit_length())


LANES = (Lanes(16, 16, 0.96), Lanes(32, 3, 0.86))

# Odd multipliers of the mixes, one line a try: fractional digits of pi in hexadecimal, last bit set.
MIXES = (
    (0x243F6A89, 0x85A308D3, 0x13198A2F),
    (0x03707345, 0xA4093823, 0x299F31D1),
    (0x082EFA99, 0xEC4E6C89, 0x452821E7),
    (0x38D01377, 0xBE5466CF, 0x34E90C6D),
    (0xC0AC29B7, 0xC97C50DD, 0x3F84D5B5),
    (0xB5470917, 0x9216D5D9, 0x8979FB1B),
)
ROUNDS = 4_000


def entries(values: IntervalSet, width_bits: int) -> int:
    """One per value."""
    return values.count


def build(values: IntervalSet, width_bits: int, max_entries: int) -> DataImage:
    """Section `buckets`; parameters `bucket_bits`, `lane_bits` and the multipliers `first`, `second`,
    `third`. `max_entries` is not used. ValueError for keys of another width."""
    if width_bits != KEY_BITS:
        raise ValueError(f"{KIND} holds keys of {KEY_BITS} bits, not of {width_bits}")
    keys = members(values)
    lanes, bits = shape(len(keys))
    for more in range(4):  # a larger table when no mix does: not seen, but a set may be chosen to break one
        for mix in MIXES:
            buckets = _filled(keys, mix, lanes.bits, bits + more)
            if buckets is not None:
                numbers = zip(("first", "second", "third"), mix, strict=True)
                parameters = (("bucket_bits", bits + more), ("lane_bits", lanes.bits), *numbers)
                return DataImage((("buckets", buckets, 8),), parameters)
    raise ValueError(f"no mix of {KIND} separates {len(keys)} values")


def shape(count: int) -> tuple[Lanes, int]:
    """Lanes and bits of bucket number a side, for that many keys: the smallest table."""
    bits, _, lanes = min((row.bucket_bits(count), place, row) for place, row in enumerate(LANES))
    return lanes, bits


def mixed(key: Key, mix: tuple[int, int, int]) -> tuple[Key, Key]:
    """The two mixes of a key, or of an array of keys."""
    first = (key + mix[0]) * mix[0] & WORD
    first = (first ^ first >> 16) * mix[1] & WORD
    return first, (first ^ first >> 15) * mix[2] & WORD


def model(image: MapImage | DataImage, key: int, width_bits: int) -> bool:
    """Whether one of the key's two buckets holds its fingerprint."""
    assert isinstance(image, DataImage)
    buckets, number = section(image, "buckets"), image.parameter
    bits, lane_bits = number("bucket_bits"), number("lane_bits")
    for side, mix in enumerate(mixed(key, (number("first"), number("second"), number("third")))):
        word = buckets[(side << bits) + (mix >> KEY_BITS - bits)]
        wanted = mix & ((1 << lane_bits) - 1)
        if wanted and wanted in (word >> at & ((1 << lane_bits) - 1) for at in range(0, 64, lane_bits)):
            return True
    return False


def cost(values: IntervalSet, width_bits: int, max_entries: int) -> Cost:
    """Two reads that overlap."""
    return cost_of(values.count)


def cost_of(count: int) -> Cost:
    """The cost of a table of that many keys."""
    size = 16 << shape(count)[1]
    return Cost(BASE_NS + read_ns(size), 40, size, rebuilt_ns(count))


def _filled(keys: Words, mix: tuple[int, int, int], lane_bits: int, bucket_bits: int) -> bytes | None:
    """The buckets' bytes; None when these multipliers do not do."""
    mixes = np.stack(mixed(keys, mix))
    fingerprints = mixes & np.uint64((1 << lane_bits) - 1)
    at = (mixes >> np.uint64(KEY_BITS - bucket_bits)).astype(np.int64)
    at[1] += 1 << bucket_bits
    if not fingerprints.any(axis=0).all():
        return None
    places = placed(at, fingerprints != 0, 2 << bucket_bits, 64 // lane_bits)
    if places is None:
        return None
    held = np.zeros(places.shape, f"<u{lane_bits // 8}")
    buckets, lanes = np.nonzero(places >= 0)
    held[buckets, lanes] = fingerprints[buckets >> bucket_bits, places[buckets, lanes]]
    return held.tobytes()


def placed(
    at: NDArray[np.int64], allowed: NDArray[np.bool_], buckets: int, lanes: int
) -> NDArray[np.int64] | None:
    """Which key each lane holds, -1 for none: [bucket, lane]. `at`, `allowed`: [side, key], the bucket, and
    whether the key may live there. All homeless keys move at once: each round those that find a free lane
    stay, of those that do not one a bucket takes the place of another, and all that are left change sides.
    None when some are homeless after `ROUNDS`."""
    places = np.full((buckets, lanes), -1, np.int64)
    filled = np.zeros(buckets, np.int64)
    homeless = np.arange(at.shape[1])
    side = (~allowed[0]).astype(np.int64)
    for step in range(ROUNDS):
        if not len(homeless):
            return places
        bucket = at[side[homeless], homeless]
        order = np.argsort(bucket, kind="stable")
        homeless, bucket = homeless[order], bucket[order]
        starts = np.flatnonzero(np.concatenate([[True], bucket[1:] != bucket[:-1]]))
        counts = np.diff(np.append(starts, len(bucket)))
        rank = np.arange(len(bucket)) - np.repeat(starts, counts)
        lane = filled[bucket] + rank
        fits = lane < lanes
        kicks = rank == np.maximum(lanes - filled[bucket], 0)  # the first without a lane
        places[bucket[fits], lane[fits]] = homeless[fits]
        filled[bucket[starts]] = np.minimum(filled[bucket[starts]] + counts, lanes)
        taken = bucket[kicks]
        victim = (taken * 0x9E3779B1 + step * 0x85EBCA6B >> 13) % lanes
        out = places[taken, victim]
        places[taken, victim] = homeless[kicks]
        homeless = np.concatenate([out, homeless[~(fits | kicks)]])
        side[homeless] ^= allowed[1 - side[homeless], homeless]
    return None
