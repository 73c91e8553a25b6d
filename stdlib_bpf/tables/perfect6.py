"""Single IPv6 addresses by perfect hashing, read in place: 17 bytes each, one read of the key itself.

A mix of 64 bits of both halves of a key names a group by its upper 32 bits. The group's pilot, a number found
when the table is built, and the lower 32 bits name a slot; no two keys of the set share one. A key is in the
set when it stands in its slot. Slots that would be empty hold some key of the set, which makes no other key a
member.

    m = ((upper * first ^ that >> 32) + lower) * second; m = (m ^ m >> 29) * third
    pilot = pilots[(m >> 32) * groups >> 32]
    slot = ((m ^ pilot * SPREAD) * TURN mod 2**32) * places >> 32

Only the pilots, half a byte a key, and one slot are read, so of a large set one read goes past the caches.
Layout, little endian: `pilots` u16[groups + 1], `slots` u64[places + 1][2]: upper and lower half. The last of
each is never read; without it the verifier, which does not know that a product's fraction is cut off before
the index becomes an offset, would see reads behind the end.
After PTHash (Pibiri, Trani, SIGIR 2021): large groups first, while there is room.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from ..numeric import np
from ..sets import IntervalSet
from .arrays import U16, U64, section
from .base import Cost, DataImage, MapImage, rebuilt_ns
from .memory import read_ns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .arrays import Numbers, Words

KIND = "perfect6"
WIDTHS = frozenset({128})
UPDATABLE = False
EXACT = True

Key = TypeVar("Key", int, "NDArray[Any]")
HALF, WORD = 64, 32
HALF_MASK, WORD_MASK = (1 << HALF) - 1, (1 << WORD) - 1
LOAD, GROUP = 0.95, 4  # share of slots that are some key's own; keys a group, on average
PILOTS = 1 << 16
BASE_NS = 7.0

# Odd multipliers: fractional digits of pi in hexadecimal, last bit set; those of the mixes one line a try.
MIXES = (
    (0x243F6A8885A308D3, 0x13198A2E03707345, 0xA4093822299F31D1),
    (0x082EFA98EC4E6C89, 0x452821E638D01377, 0xBE5466CF34E90C6D),
    (0xC0AC29B7C97C50DD, 0x3F84D5B5B5470917, 0x9216D5D98979FB1B),
)
SPREAD, TURN = 0xD1310BA7, 0x98DFB5AD


def entries(values: IntervalSet, width_bits: int) -> int:
    """One per value."""
    return values.count


def build(values: IntervalSet, width_bits: int, max_entries: int) -> DataImage:
    """Sections `pilots` and `slots`; parameters `groups`, `places`, the multipliers `first`, `second`,
    `third`, and `some`, 0 for the empty set. `max_entries` is not used. ValueError for keys of another
    width."""
    if width_bits != 2 * HALF:
        raise ValueError(f"{KIND} holds keys of {2 * HALF} bits, not of {width_bits}")
    keys = list(chain.from_iterable(range(low, high + 1) for low, high in values))
    halves = np.zeros((max(1, len(keys)), 2), np.uint64)
    halves[: len(keys), 0] = np.fromiter((key >> HALF for key in keys), np.uint64, len(keys))
    halves[: len(keys), 1] = np.fromiter((key & HALF_MASK for key in keys), np.uint64, len(keys))
    groups, places = _shape(len(keys))
    for mix in MIXES:
        found = _placed(mixed(halves[:, 0], halves[:, 1], mix), groups, places)
        if found is not None:
            pilots, held = (np.append(numbers, 0) for numbers in found)
            sections = (
                ("pilots", pilots.astype(U16).tobytes(), 2),
                ("slots", halves[held].astype(U64).tobytes(), 8),
            )
            numbers = zip(("first", "second", "third"), mix, strict=True)
            shape = (("groups", groups), ("places", places), ("some", int(len(keys) > 0)))
            return DataImage(sections, (*shape, *numbers))
    raise ValueError(f"no mix of {KIND} separates {len(keys)} values")


def mixed(upper: Key, lower: Key, mix: tuple[int, int, int]) -> Key:
    """The mix of a key by its halves, or of arrays of them."""
    m = upper * mix[0] & HALF_MASK
    m = ((m ^ m >> 32) + lower) * mix[1] & HALF_MASK
    last: Key = (m ^ m >> 29) * mix[2] & HALF_MASK
    return last


def slot_of(m: Key, pilot: int, places: int) -> Key:
    """Where a key of that mix stands in a group of that pilot."""
    found: Key = ((m ^ pilot * SPREAD) & WORD_MASK) * TURN & WORD_MASK
    return found * places >> WORD


def model(image: MapImage | DataImage, key: int, width_bits: int) -> bool:
    """Whether the key stands in its slot."""
    assert isinstance(image, DataImage)
    slots, pilots, number = section(image, "slots"), section(image, "pilots"), image.parameter
    upper, lower = key >> HALF, key & HALF_MASK
    m = mixed(upper, lower, (number("first"), number("second"), number("third")))
    at = 2 * slot_of(m, pilots[(m >> WORD) * number("groups") >> WORD], number("places"))
    return bool(number("some")) and (slots[at], slots[at + 1]) == (upper, lower)


def cost(values: IntervalSet, width_bits: int, max_entries: int) -> Cost:
    """Two dependent reads, of a pilot and of a slot."""
    groups, places = _shape(values.count)
    pilots, slots = 2 * groups, 16 * places
    ns = BASE_NS + read_ns(pilots) / 2 + read_ns(slots) / 2  # the latter overlap with those of other packets
    return Cost(ns, 40, pilots + slots, rebuilt_ns(values.count))


def _shape(count: int) -> tuple[int, int]:
    """Groups and places for that many keys."""
    return count // GROUP + 1, int(count / LOAD) + 1


def _placed(m: Words, groups: int, places: int) -> tuple[Numbers, Numbers] | None:
    """The pilot of each group and which key each place holds, of keys by their mixes; None when a group has
    no pilot. Groups of one size try the next pilot together: who finds all its places free, and not taken by
    another in this round, stays."""
    group = (m >> np.uint64(WORD)).astype(np.int64) * groups >> WORD
    order, sizes = np.argsort(group, kind="stable"), np.bincount(group, minlength=groups)
    begins = np.cumsum(sizes) - sizes
    lows = (m & np.uint64(WORD_MASK)).astype(np.int64)
    pilots, owners = np.zeros(groups, np.int64), np.full(places, -1)
    for size in range(int(sizes.max()), 0, -1):
        left = np.flatnonzero(sizes == size)
        for pilot in range(PILOTS):
            if not len(left):
                break
            keys = order[begins[left][:, None] + np.arange(size)]
            at = slot_of(lows[keys], pilot, places)
            free = (owners[at] < 0).all(axis=1)
            tried, keys = at[free], keys[free]
            owners[tried] = keys
            stays = (owners[tried] == keys).all(axis=1)
            owners[tried[~stays]] = -1
            owners[tried[stays]] = keys[stays]
            pilots[left[free][stays]] = pilot
            free[free] = stays
            left = left[~free]
        if len(left):
            return None
    return pilots, np.maximum(owners, 0)
