"""IPv4 prefixes in little more than two bytes each, whatever their lengths: read in place.

The top 17 bits of a key select a slot, which says where the codes of the prefixes inside lie: 16 bits each,
four to a word of 64. A code says where its prefix begins and ends with one bit more than an address takes: of
the 2**k values from b on, multiples of 2**k, it is 2 * b + 2**k, so the lowest bit that is set tells k. A key
x is inside when 2 * x + 1 and the code differ in no bit above that one. The few words of a slot are all read
and compared at once, lane by lane: nothing is searched, no branch depends on what they hold.

    {10.0.0.0/24, 10.0.64.7}: slot 0x1400 holds the codes 0x0100 (b 0, k 8) and 0x800f (b 0x4007, k 0)
    key 10.0.0.9: 2 * 9 + 1 = 0x0013 differs from 0x0100 below bit 9 only: inside

A slot with more codes than `WORDS` words hold becomes a node of smaller slots, each of the same form; a slot
that lies inside one prefix refers to word 0, whose codes hold every key.

Layout, little endian: `index` u32: the first 2**17 slots, then those of nodes. A slot is place << 3 | number
of words (0 to `WORDS`); a node is first slot << 7 | log2 of the keys of one << 3 | 7. `words` u64: lanes that
would be empty repeat the code before them; a slot's words are followed by those of others, which do not
count. After poptrie (Asai, Ohara, SIGCOMM 2015); lanes of a word: Lamport, "Multiple byte processing with
full-word instructions" (CACM 1975).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..numeric import np
from ..sets import IntervalSet
from .arrays import U32, count_prefixes, prefixes, section
from .base import Cost, DataImage, MapImage, rebuilt_ns
from .memory import read_ns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .arrays import Numbers

KIND = "prefix_index"
WIDTHS = frozenset({32})
UPDATABLE = False
EXACT = False

KEY_BITS, INDEX_BITS = 32, 17
LOW_BITS = KEY_BITS - INDEX_BITS
LANE_BITS, LANES = LOW_BITS + 1, 4
ONES = sum(1 << LANE_BITS * lane for lane in range(LANES))
TOPS = ONES << LANE_BITS - 1
WORDS = 4  # that are read of a slot
HELD_BITS, SHIFT_BITS = 3, 4
HELD_MASK, SHIFT_MASK = (1 << HELD_BITS) - 1, (1 << SHIFT_BITS) - 1
IS_NODE, IS_FULL = HELD_MASK, 1
EVERY_KEY = 1 << LOW_BITS
CODES_A_SLOT, LEAST_BITS = 6, 3  # of a node: codes a slot were they even, log2 of slots
BASE_NS, CODE_BYTES, SLOT_BYTES = 3.0, 2, 3  # the last: of lanes that repeat a code


def entries(values: IntervalSet, width_bits: int) -> int:
    """One per prefix."""
    return count_prefixes(values)


def build(values: IntervalSet, width_bits: int, max_entries: int) -> DataImage:
    """Sections `index` and `words`; parameters `levels` of nodes below the first slots, `last_slot` and
    `last_word`, the largest places to read from. `max_entries` is not used. ValueError for keys of another
    width."""
    if width_bits != KEY_BITS:
        raise ValueError(f"{KIND} holds keys of {KEY_BITS} bits, not of {width_bits}")
    lows, free = prefixes(values)
    codes = 2 * (lows & EVERY_KEY - 1) + (1 << np.minimum(free, LOW_BITS))
    firsts, shifts, rest, node = (
        np.zeros(1, np.int64),
        np.array([LOW_BITS]),
        lows,
        np.zeros(len(lows), np.int64),
    )
    slots = 1 << INDEX_BITS
    levels: list[Numbers] = []
    words: list[Numbers] = [np.full(LANES, EVERY_KEY)]
    made, filled = 0, 1
    while True:
        shift = shifts[node]
        slot = firsts[node] + (rest >> shift)
        whole = free >= shift
        held = np.bincount(slot[~whole], minlength=slots)
        crowded = held > WORDS * LANES
        stays = ~whole & ~crowded[slot]
        count = np.where(crowded, 0, held)
        taken = -(-count // LANES)
        place = filled + np.cumsum(taken) - taken
        level = place << HELD_BITS | taken
        level[_covered(slot[whole], 1 << (free - shift)[whole], slots)] = IS_FULL
        words.append(_lanes(codes[stays], count, taken))
        filled += int(taken.sum())
        levels.append(level)
        if not crowded.any():
            break
        made += slots
        above = np.repeat(shifts, np.diff(np.append(firsts, slots)))[crowded]
        bits = np.ceil(np.log2(held[crowded] / CODES_A_SLOT)).astype(np.int64)
        bits = np.minimum(np.maximum(bits, LEAST_BITS), above)
        number = np.cumsum(crowded) - 1
        goes = ~whole & crowded[slot]
        node, rest = number[slot[goes]], (rest & (1 << shift) - 1)[goes]
        free, codes = free[goes], codes[goes]
        shifts, widths = above - bits, 1 << bits
        firsts, slots = np.cumsum(widths) - widths, int(widths.sum())
        level[crowded] = made + firsts << HELD_BITS + SHIFT_BITS | shifts << HELD_BITS | IS_NODE
    index = np.concatenate(levels).astype(U32)
    every = np.concatenate([*words, np.zeros(LANES * (WORDS - 1), np.int64)]).astype(f"<u{LANE_BITS // 8}")
    numbers = (("levels", len(levels) - 1), ("last_slot", len(index) - 1), ("last_word", filled - 1))
    return DataImage((("index", index.tobytes(), 4), ("words", every.tobytes(), 8)), numbers)


def model(image: MapImage | DataImage, key: int, width_bits: int) -> bool:
    """Whether a code of the key's slot holds it, read from the bytes as generated code does."""
    assert isinstance(image, DataImage)
    index, words = section(image, "index"), section(image, "words")
    low = rest = key & EVERY_KEY - 1
    word = index[key >> LOW_BITS]
    while word & HELD_MASK == IS_NODE:
        shift = word >> HELD_BITS & SHIFT_MASK
        word, rest = index[(word >> HELD_BITS + SHIFT_BITS) + (rest >> shift)], rest & (1 << shift) - 1
    wanted, place = 2 * low + 1, word >> HELD_BITS
    for held in words[place : place + (word & HELD_MASK)]:
        for lane in range(LANES):
            code = held >> LANE_BITS * lane & (1 << LANE_BITS) - 1
            if code ^ wanted <= code ^ code - 1:
                return True
    return False


def cost(values: IntervalSet, width_bits: int, max_entries: int) -> Cost:
    """Two dependent reads, of the index and of a slot's words."""
    count, index = count_prefixes(values), 4 << INDEX_BITS
    held = CODE_BYTES * count + SLOT_BYTES * min(count, 1 << INDEX_BITS)
    ns = BASE_NS + read_ns(index) / 2 + read_ns(held)
    return Cost(ns, 30 + 16 * WORDS, index + held, rebuilt_ns(len(values)))


def _covered(slots: Numbers, widths: Numbers, count: int) -> NDArray[np.bool_]:
    """Which of so many slots lie in one of the stretches that begin at `slots`."""
    turns = np.bincount(slots, minlength=count + 1) - np.bincount(slots + widths, minlength=count + 1)
    inside: NDArray[np.bool_] = np.cumsum(turns)[:count] > 0
    return inside


def _lanes(codes: Numbers, held: Numbers, words: Numbers) -> Numbers:
    """Codes as lanes of whole words; `held` of them, in order, and so many `words`, each slot."""
    lanes = LANES * words
    begins, ends = np.cumsum(held) - held, np.cumsum(held) - 1
    number = np.arange(int(lanes.sum())) + np.repeat(begins - (np.cumsum(lanes) - lanes), lanes)
    found: Numbers = codes[np.minimum(number, np.repeat(ends, lanes))]
    return found
