"""IPv6 prefixes in a tree of indexes that adapts to where they lie, four bytes each: read in place.

The set is cut into disjoint prefixes. The tree is of their upper halves (64 bits). A node covers a span of
keys that begins at `start`, divided into slots of 2**shift keys; bits that all its prefixes share cost
nothing, and a key outside the span is not in the set. A slot is a leaf of a few prefixes, the next node, or
full.

    t = upper half of the key - origin                           2001:db8:5:1::7 -> 20010db800050001 - origin
    node: t -= start; t > limit: not in the set; slot = first + (t >> shift); t mod 2**shift goes on
    leaf: x = t >> cut, at most 30 bits; the last of its codes that begins at or below x decides

A code says where a prefix begins and ends with one bit more than its length takes: of the 2**k values from b
on, multiples of 2**k, it is 2 * b + 2**k, so the lowest bit that is set tells k. A key x is inside when 2 * x
+ 1 and the code differ in no bit above that: `(code ^ 2 * x + 1) <= (code ^ code - 1)`. Where prefixes are
finer than `cut` or longer than /64, one code of one value (a cell) stands for all of them. A record says what
those are: one prefix of up to /64 by its first and last upper half, anything else by a sorted list.

Layout, little endian, each section a power of two of elements. `slots` u32: leaf: held << 25 (5 bits) |
number of its first code; node: 1 << 30 | number; full: 1 << 31. `nodes` u64[4]: start, limit, cut << 40 |
shift << 32 | first slot, 0. `codes` u32: code << 1 | whether it is a cell; leaves that have cells come first.
`cells` u64[2], by number of code: first and last upper half, or held << 32 | place and 0, in `uppers` and
`lowers` u64, the halves of the cell's boundaries (where membership flips, ascending), which begin at an even
place: an odd number of them at or below the key means that it is in the set.

The number of levels and of the steps of each search is known when the program is made: there is no loop.
After poptrie (Asai, Ohara, SIGCOMM 2015) and DXR (Zec, Rizzo, Mikuc, CCR 2012), reduced to membership.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..numeric import np
from ..sets import IntervalSet
from .arrays import U16, U32, U64, power_of_two, section
from .base import Cost, DataImage, MapImage, rebuilt_ns
from .memory import read_ns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .arrays import Words

    Places = NDArray[np.int64]
    Part = tuple[str, NDArray[Any], str]  # of a section: name, elements, their type in the image

KIND = "range_tree"
WIDTHS = frozenset({128})
UPDATABLE = False
EXACT = False

HALF = 64
HALF_MASK = (1 << HALF) - 1
IS_NODE, IS_FULL = 1 << 30, 1 << 31
HELD_AT, NUMBER_MASK, HELD_MASK = 25, (1 << 25) - 1, 31
SHIFT_AT, CUT_AT, SMALL_MASK, PLACE_MASK = 32, 40, 255, (1 << 32) - 1
CODE_BITS = 30
LEAF_CODES = 15  # a slot with more becomes a node: four halvings find one of these
CODES_A_SLOT = 3  # what a node's slots would hold each, were they even
LEAST_SLOTS = 4  # of the root, twice as many each level: at most 11 levels, whatever the set
MAX_SLOTS = 1 << 20
BASE_NS, READS = 15.0, 0.5  # of a leaf's codes: half of it overlaps with other packets
# Memory of a prefix, of that what lookups touch, and what one finer than /64 takes more.
PREFIX_BYTES, TOUCHED_BYTES, FINE_BYTES = 14, 6, 40


def entries(values: IntervalSet, width_bits: int) -> int:
    """One per prefix."""
    return sum(1 for _ in values.prefixes(width_bits))


def build(values: IntervalSet, width_bits: int, max_entries: int) -> DataImage:
    """The sections of the layout; parameters `origin`, `limit`, `shift` and `cut` of the root, `levels`,
    `steps` (halvings of a leaf), `deep` (whether there are cells), `listed` (whether there are lists, of
    `cell_steps`), and NAME_mask of each section, its number of elements less one. `max_entries` is not used.
    ValueError for keys of another width or more than 2**25 prefixes."""
    if width_bits != 2 * HALF:
        raise ValueError(f"{KIND} holds keys of {2 * HALF} bits, not of {width_bits}")
    return image_of([(value, length, 1) for value, length in values.prefixes(width_bits)], tagged=False)


def image_of(found: list[tuple[int, int, int]], tagged: bool) -> DataImage:
    """The image of disjoint prefixes (value, length, tag), ascending. `tagged`: with what `tags.tag_tree`
    adds to tell one tag from another. ValueError for more than 2**25 of them."""
    parts, numbers = _tables(_prefixes(found), tagged)
    padded = [(name, power_of_two(words.astype(kind))) for name, words, kind in parts]
    if len(padded[1][1]) > NUMBER_MASK + 1:
        raise ValueError(f"{KIND} holds {NUMBER_MASK + 1} prefixes, not more")
    masks = ((f"{name}_mask", len(words) - 1) for name, words in padded)
    sections = tuple((name, words.tobytes(), words.itemsize) for name, words in padded)
    return DataImage(sections, (*numbers.items(), *masks))


def model(image: MapImage | DataImage, key: int, width_bits: int) -> bool:
    """Whether a prefix holds the key, read from the bytes as generated code does."""
    assert isinstance(image, DataImage)
    kind, number = found(image, key)
    return bool(rank(image, number, key)[1] & 1) if kind == "cell" else kind != "nothing"


def found(image: DataImage, key: int) -> tuple[str, int]:
    """What a key comes to: "nothing"; a slot that is "full", and its word; the prefix of a "code", or a
    "cell", and the code's number."""
    number, slots, nodes = image.parameter, section(image, "slots"), section(image, "nodes")
    inside = (key >> HALF) - number("origin")
    start, limit, shift, cut, first = 0, number("limit"), number("shift"), number("cut"), 0
    for _ in range(number("levels")):
        inside -= start
        if not 0 <= inside <= limit:
            return "nothing", 0
        word, inside = slots[first + (inside >> shift) & number("slots_mask")], inside & (1 << shift) - 1
        if word >= IS_FULL:
            return "full", word
        if word < IS_NODE:
            break
        at = 4 * (word & NUMBER_MASK) & number("nodes_mask")
        start, limit, packed = nodes[at : at + 3]
        shift, cut, first = packed >> SHIFT_AT & SMALL_MASK, packed >> CUT_AT, packed & PLACE_MASK
    held, at, codes = word >> HELD_AT & HELD_MASK, word & NUMBER_MASK, section(image, "codes")
    if held == 0:
        return "nothing", 0
    wanted, mask = 2 * (inside >> cut) + 1, number("codes_mask")
    for _ in range(number("steps")):
        half = held >> 1
        code = codes[at + half & mask] >> 1
        at += half * (code & code - 1 <= wanted)
        held -= half
    code = codes[at & mask] >> 1
    if code ^ wanted > code ^ code - 1:
        return "nothing", 0
    if codes[at & mask] & 1:
        low, high = _record(image, at)
        if low > high:
            return "cell", at
        if not low <= key >> HALF <= high:
            return "nothing", 0
    return "code", at


def _record(image: DataImage, number: int) -> tuple[int, int]:
    cells, at = section(image, "cells"), 2 * number & image.parameter("cells_mask")
    return cells[at], cells[at + 1]


def rank(image: DataImage, number: int, key: int) -> tuple[int, int]:
    """Where the boundaries of a cell with a list begin, which is even, and behind those at or below the
    key."""
    cell, _ = _record(image, number)
    begin, held, mask = cell & PLACE_MASK, cell >> 32, image.parameter("uppers_mask")
    uppers, lowers, place = section(image, "uppers"), section(image, "lowers"), begin

    def reached(at: int) -> bool:
        return (uppers[at & mask] << HALF | lowers[at & mask]) <= key

    for _ in range(image.parameter("cell_steps")):
        half = held >> 1
        place += half * reached(place + half - 1)
        held -= half
    return begin, place + reached(place)


def cost(values: IntervalSet, width_bits: int, max_entries: int) -> Cost:
    """A slot or two and a leaf; for what is finer than /64 a list, too."""
    fine = sum(low & HALF_MASK != 0 or high & HALF_MASK != HALF_MASK for low, high in values.ranges)
    count = len(values)
    ns, size = BASE_NS + READS * read_ns(TOUCHED_BYTES * count), PREFIX_BYTES * count
    if fine:
        size += FINE_BYTES * fine
        ns += 2 * read_ns(size)
    return Cost(ns, 110, size, rebuilt_ns(count))


# ---- building ----


@dataclass(frozen=True)
class _Prefixes:
    """Disjoint prefixes, ascending, by upper half: of all that are longer than a /64 and lie in the same one,
    the first stands for the others. `uppers`: of the first key, from the origin; `spans`: log2 of the number
    of upper halves; `fine`: whether longer than /64; `ends`: behind the last of `boundaries` (upper, lower)
    that it stands for, two a prefix; `turns`: the tag from each boundary on; `tags`: of each prefix."""

    uppers: Words
    spans: Words
    fine: NDArray[np.bool_]
    ends: Places
    boundaries: tuple[tuple[str, Words], tuple[str, Words]]
    turns: Words
    tags: Words
    origin: int


@dataclass(frozen=True)
class _Nodes:
    """Nodes over some stretches of the prefixes: begin and end of each stretch, where it starts (from the
    origin), its shift and number of slots."""

    begins: Places
    ends: Places
    starts: Words
    shifts: Words
    widths: Places


@dataclass(frozen=True)
class _Slots:
    """Slots: number of the first prefix that lies inside and how many do, where the slot begins (from the
    origin), how many bits codes leave out, the tag of the prefix that fills it, 0 for none."""

    begins: Places
    held: Places
    bases: Words
    cuts: Words
    full: Places


@dataclass(frozen=True)
class _Codes:
    """Codes of the prefixes in all leaves, and their tags; of each slot the first code and how many. Of the
    codes of leaves that have cells: first and last upper half; begin and end of a cell's list of boundaries,
    the same where there is none."""

    codes: Words
    tags: Words
    begins: Places
    held: Places
    spans: Words
    listed: tuple[Places, Places]


def _steps(sizes: NDArray[np.generic]) -> int:
    return max(0, int(sizes.max(initial=0)) - 1).bit_length()


def _prefixes(found: list[tuple[int, int, int]]) -> _Prefixes:
    width_bits = 2 * HALF
    ends = [value + (1 << width_bits - length) for value, length, _ in found]
    first_key, last_key = (found[0][0], ends[-1] - 1) if found else (0, 0)
    shared = ((first_key ^ last_key) >> HALF).bit_length()
    origin = first_key >> HALF + shared << shared  # so that prefixes are as aligned from there as from 0
    halves = np.zeros((2, 2 * len(found)), np.uint64)
    for at, numbers in ((0, [value for value, _, _ in found]), (1, ends)):
        halves[0, at::2] = np.fromiter((n >> HALF & HALF_MASK for n in numbers), np.uint64, len(found))
        halves[1, at::2] = np.fromiter((n & HALF_MASK for n in numbers), np.uint64, len(found))
    last = 2 * len(found) - (1 if ends and ends[-1] >> width_bits else 0)  # nothing lies behind the last key
    lengths = np.fromiter((length for _, length, _ in found), np.int64, len(found))
    tags = np.fromiter((tag for _, _, tag in found), np.uint64, len(found))
    uppers, fine = halves[0, ::2] - np.uint64(origin), lengths > HALF
    first = np.ones(len(found), bool)
    first[1:] = ~fine[1:] | ~fine[:-1] | (uppers[1:] != uppers[:-1])
    behind = np.append(2 * np.flatnonzero(first)[1:], last)[: int(first.sum())]
    spans = np.maximum(HALF - lengths, 0)[first].astype(np.uint64)
    return _Prefixes(
        uppers[first],
        spans,
        fine[first],
        behind,
        (("uppers", halves[0, :last]), ("lowers", halves[1, :last])),
        np.stack([tags, 0 * tags], axis=1).reshape(-1)[:last],
        tags[first],
        origin,
    )


def _tables(prefixes: _Prefixes, tagged: bool) -> tuple[list[Part], dict[str, int]]:
    """Sections and parameters. Level by level, all nodes of a level at once; slots and nodes are numbered as
    they are made."""
    least, floors = LEAST_SLOTS, np.zeros(1, np.uint64)
    level = _nodes(prefixes, np.array([0]), np.array([len(prefixes.uppers)]), floors, least)
    shift = int(level.shifts[0])
    numbers = {
        "origin": prefixes.origin + int(level.starts[0]),
        "limit": min((int(level.widths[0]) << shift) - 1, HALF_MASK),
        "shift": shift,
        "cut": max(0, shift - CODE_BITS),
    }
    levels: list[_Slots] = []
    links: list[tuple[Places, Places]] = []  # slots that are nodes, and the numbers of these
    records: list[Words] = []
    slots = nodes = 0
    while True:
        made = _divided(prefixes, level)
        if levels:
            firsts = (slots + np.cumsum(level.widths) - level.widths).astype(np.uint64)
            limits = (level.widths.astype(np.uint64) << level.shifts) - np.uint64(1)
            packed = _cuts(level.shifts) << np.uint64(CUT_AT) | level.shifts << np.uint64(SHIFT_AT) | firsts
            records.append(np.stack([level.starts - floors, limits, packed, 0 * packed], axis=1))
        levels.append(made)
        crowded = np.flatnonzero(made.held > LEAF_CODES)
        links.append((slots + crowded, nodes + np.arange(len(crowded))))
        if not len(crowded):
            break
        slots, nodes, least = slots + len(made.held), nodes + len(crowded), 2 * least
        floors, begins = made.bases[crowded], made.begins[crowded]
        level = _nodes(prefixes, begins, begins + made.held[crowded], floors, least)
    every = _joined(levels)
    places = np.concatenate([at for at, _ in links])
    every.held[places] = 0
    leaves = _codes(prefixes, every)
    words = leaves.begins | leaves.held << HELD_AT
    words[every.full > 0] = IS_FULL | every.full[every.full > 0]
    words[places] = IS_NODE | np.concatenate([number for _, number in links])
    begins, ends = leaves.listed
    sizes = ends - begins
    numbers |= {"levels": len(levels), "steps": _steps(leaves.held)}
    numbers |= {"deep": int(len(sizes) > 0), "listed": int(sizes.any()), "cell_steps": _steps(sizes)}
    parts: list[Part] = [("slots", words, U32), ("codes", leaves.codes, U32)]
    parts.append(("nodes", np.concatenate(records).reshape(-1) if records else np.zeros(4, np.uint64), U64))
    if tagged:
        parts.append(("tags", leaves.tags, U16))
    room = sizes + (sizes & 1)  # a list begins at an even place
    at = np.cumsum(room) - room
    list_ = np.stack([sizes.astype(np.uint64) << np.uint64(32) | at.astype(np.uint64), 0 * leaves.spans[1]])
    if len(sizes):
        parts.append(("cells", np.where(sizes > 0, list_, leaves.spans).T.reshape(-1), U64))
    if sizes.any():
        chosen = np.arange(int(room.sum())) + np.repeat(begins - at, room)
        chosen = np.minimum(chosen, len(prefixes.turns) - 1)
        parts += [(n, half[chosen], U64) for n, half in prefixes.boundaries]
        if tagged:
            parts.append(("turns", prefixes.turns[chosen], U16))
    return parts, numbers


def _joined(levels: list[_Slots]) -> _Slots:
    return _Slots(
        np.concatenate([level.begins for level in levels]),
        np.concatenate([level.held for level in levels]),
        np.concatenate([level.bases for level in levels]),
        np.concatenate([level.cuts for level in levels]),
        np.concatenate([level.full for level in levels]),
    )


def _cuts(shifts: Words) -> Words:
    """How many bits a code leaves out below a node of such a shift."""
    return np.maximum(shifts, np.uint64(CODE_BITS)) - np.uint64(CODE_BITS)


def _nodes(prefixes: _Prefixes, begins: Places, ends: Places, floors: Words, least: int) -> _Nodes:
    """Nodes of about `least` slots or more over those stretches; none begins below its floor."""
    if not len(prefixes.uppers):
        return _Nodes(begins, ends, floors, np.zeros(1, np.uint64), np.ones(1, np.int64))
    first = prefixes.uppers[begins]
    last = prefixes.uppers[ends - 1]
    last = last + ((np.uint64(1) << prefixes.spans[ends - 1]) - np.uint64(1))
    wanted = np.clip((ends - begins) // CODES_A_SLOT, 2 * least - 1, MAX_SLOTS - 1)
    sizes = zip((last - first).tolist(), wanted.tolist(), strict=True)
    shifts = np.array([max(0, s.bit_length() - w.bit_length() + 1) for s, w in sizes], np.uint64)
    starts = np.maximum(first >> shifts << shifts, floors)
    return _Nodes(begins, ends, starts, shifts, (last - starts >> shifts).astype(np.int64) + 1)


def _divided(prefixes: _Prefixes, level: _Nodes) -> _Slots:
    """The slots of a level's nodes."""
    inside = level.ends - level.begins
    owner = np.repeat(np.arange(len(inside)), inside)
    mine = np.arange(len(owner)) + (level.begins - (np.cumsum(inside) - inside))[owner]
    firsts = np.cumsum(level.widths) - level.widths
    total = int(level.widths.sum())
    distance = prefixes.uppers[mine] - level.starts[owner]
    slot = (distance >> level.shifts[owner]).astype(np.int64) + firsts[owner]
    whole = (prefixes.spans[mine] >= level.shifts[owner]) & ~prefixes.fine[mine]
    covered = np.int64(1) << (prefixes.spans[mine] - level.shifts[owner])[whole].astype(np.int64)
    tags = prefixes.tags[mine[whole]]
    turns = np.bincount(slot[whole], tags, total + 1)
    turns -= np.bincount(slot[whole] + covered, tags, total + 1)
    held = np.bincount(slot[~whole], minlength=total)
    begins = np.zeros(total, np.int64)
    begins[slot[~whole][::-1]] = mine[~whole][::-1]  # the first of each stays
    node = np.repeat(np.arange(len(inside)), level.widths)
    number = (np.arange(total) - firsts[node]).astype(np.uint64)
    bases = level.starts[node] + (number << level.shifts[node])
    return _Slots(begins, held, bases, _cuts(level.shifts)[node], np.cumsum(turns)[:total].astype(np.int64))


def _codes(prefixes: _Prefixes, slots: _Slots) -> _Codes:
    owner = np.repeat(np.arange(len(slots.held)), slots.held)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(slots.held) - slots.held, slots.held)
    mine = slots.begins[owner] + within
    cuts, spans = slots.cuts[owner], prefixes.spans[mine]
    values = prefixes.uppers[mine] - slots.bases[owner] >> cuts
    cell = prefixes.fine[mine] | (spans < cuts)
    first = np.ones(len(mine), bool)
    first[1:] = ~cell[1:] | ~cell[:-1] | (owner[1:] != owner[:-1]) | (values[1:] != values[:-1])
    ones = np.uint64(1) << np.where(cell, np.uint64(0), spans - cuts)
    codes = (2 * values + ones << np.uint64(1) | cell)[first]
    of, leaf, cell = mine[first], owner[first], cell[first]
    held = np.bincount(leaf, minlength=len(slots.held))
    final = mine[np.append(np.flatnonzero(first)[1:], len(mine))[: len(codes)] - 1]  # of each code's prefixes
    # Leaves with cells come first, so that there are no records of the others.
    celled = np.bincount(leaf, cell, minlength=len(held)) > 0
    order = np.argsort(~celled, kind="stable")
    begins = np.zeros(len(held), np.int64)
    begins[order] = np.cumsum(held[order]) - held[order]
    place = np.argsort(begins[leaf], kind="stable")
    kept = place[: int(held[celled].sum())]
    begin = np.append(prefixes.ends, 0)[of - 1]  # behind the boundaries of the prefix before
    single = ~cell | (~prefixes.fine[of] & (final == of))
    end = np.where(single, begin, prefixes.ends[final])
    low = prefixes.uppers[of] + np.uint64(prefixes.origin)
    high = low + ((np.uint64(1) << np.where(cell, spans[first], np.uint64(0))) - np.uint64(1))
    return _Codes(
        codes[place],
        prefixes.tags[of][place],
        begins,
        held,
        np.stack([low, high])[:, kept],
        (begin[kept], end[kept]),
    )
