"""Boxes in decision trees that are walked in place: for lists of up to hundreds of thousands of rules.

Fields are cut into dimensions of at most 32 bits (an IPv6 address is four). An inner node takes a window of
bits of one dimension as the number of its child; boxes whose window is not one value are in several children.
Which bits were looked at on the way does not matter, because a leaf compares whole boxes, in the order of the
rules. Wide boxes would be copied into most leaves: boxes go to up to four trees, by whether their source and
destination are wide, and the trees are walked in the order of their first rule, as long as that could still
be the one that decides.

    window 8 bits at 0 of dport      children 22, 80, 187 … : leaf (ssh from 10.0.0.0/8), leaf (http), leaf …

Layout, little endian, read in place. `nodes`, cells of 40 bits, and so many bytes more that eight can be read
anywhere: bits 0-24 first child or first leaf entry, 25-29 shift, 30-34 the window's width in bits, 35-38
dimension, 39 set for a leaf, whose bits 25-38 are its number of entries. In registers these lie at the top of
64 bits (`grow`). `entries`, `layout().size` bytes each: u32 rule << 8 | code, then of each dimension the
lowest value, of 4, 2 or 1 bytes by its width, and how far it reaches: the extent (highest less lowest) in as
many bytes, or, where all boxes ask for prefixes of 32 bits, the number of low bits that are free, in one.
What is wider comes first. Parameters: the root of each tree and its first rule.

After HiCuts (Gupta, McKeown: "Packet classification using hierarchical intelligent cuttings", 1999), EffiCuts
(Vamanan et al., 2010: separate trees by wide dimensions) and ByteCuts (Daly, Torng, 2018: windows anywhere).
Measured by `benchmarks.rule_lists`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..numeric import np
from ..tables.base import Cost, DataImage
from ..tables.memory import read_ns
from .base import Boxes
from .grow import BITS, COUNT, DIMENSION, FIRST, LEAF, SHIFT, Forest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .grow import Ints

KIND = "rule_tree"
CELL_BYTES, READ_BYTES = 5, 8

NODE_STEPS, ENTRY_STEPS = 30, 32  # of the verifier: for a node, for a dimension of an entry
BIT_NS = 3.5  # of a lookup, for each doubling of the boxes
# A range of more values than that many bits have is wide, as one of a sixteenth of all IPv4 addresses: those
# lie in most children of any node. Wider than half of them is EffiCuts' choice.
WIDE_BITS = 28


@dataclass(frozen=True)
class Dimension:
    """A part of a field: field number, how far its low end lies from the field's, width in bits."""

    of: int
    shift: int
    bits: int


def dimensions(widths: Sequence[int]) -> tuple[Dimension, ...]:
    """The dimensions of fields, in their order, those of one field from its top down."""
    return tuple(
        Dimension(at, shift, min(32, width))
        for at, width in enumerate(widths)
        for shift in range(width - min(32, width), -1, -32)
    )


@dataclass(frozen=True)
class Place:
    """Where a dimension lies in an entry: offset and bytes of the lowest value, then of how far it reaches,
    as free bits of a prefix (`prefix`) or as extent."""

    at: int
    size: int
    reach_at: int
    reach_size: int
    prefix: bool


@dataclass(frozen=True)
class Layout:
    """The `places` of all dimensions; `size` of an entry in bytes."""

    places: tuple[Place, ...]
    size: int


def layout(widths: Sequence[int], prefixes: int) -> Layout:
    """The entry's layout for fields of these widths. `prefixes`: a bit for each dimension that has nothing
    else."""
    sizes = [4 if d.bits > 16 else 2 if d.bits > 8 else 1 for d in dimensions(widths)]
    parts = [(size, number, 0) for number, size in enumerate(sizes)]
    parts += [(1 if prefixes >> number & 1 else size, number, 1) for number, size in enumerate(sizes)]
    offsets: dict[tuple[int, int], tuple[int, int]] = {}
    at = 4
    for size, number, part in sorted(parts, key=lambda one: (-one[0], one[1:])):
        offsets[number, part] = (at, size)
        at += size
    places = [Place(*offsets[n, 0], *offsets[n, 1], bool(prefixes >> n & 1)) for n in range(len(sizes))]
    return Layout(tuple(places), (at + 3) // 4 * 4)


def build(boxes: Boxes) -> DataImage:
    """Sections `nodes` and `entries`; parameters `trees` (how many), of each `root0`, `first0`, `depth0`
    (inner nodes on the longest way) and `longest0` (entries of the largest leaf) …, `cells` (of `nodes`),
    `last` (the last entry; behind it lie so many empty ones as the largest leaf has), and `prefixes`."""
    lows, highs = _arrays(boxes)
    return _image(boxes, Forest(lows, highs, _groups(lows, highs, boxes.widths)))


def _arrays(boxes: Boxes) -> tuple[Ints, Ints]:
    """Lowest and highest values, (box, dimension)."""
    dims = dimensions(boxes.widths)
    ends = []
    for side in (0, 1):
        columns = [
            [box.ranges[d.of][side] >> d.shift & (1 << d.bits) - 1 for box in boxes.boxes] for d in dims
        ]
        ends.append(np.array(columns, dtype=np.int64).T.copy())
    return ends[0], ends[1]


def _groups(lows: Ints, highs: Ints, widths: Sequence[int]) -> list[Ints]:
    """The boxes of each tree, by whether the first two fields of 32 bits and more are wide; the tree of the
    first rule first. One tree for all would be walked faster by what matches nothing, and several times
    slower by what does, since wide boxes are copied into most of its leaves."""
    dims = dimensions(widths)
    tops = [n for n, d in enumerate(dims) if d.bits == 32 and d.shift == widths[d.of] - 32][:2]
    kinds = np.zeros(len(lows), dtype=np.int64)
    for number, top in enumerate(tops):
        kinds += (highs[:, top] - lows[:, top] >= 1 << WIDE_BITS).astype(np.int64) << number
    groups = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
    return sorted(groups, key=lambda group: int(group[0]))


def _image(boxes: Boxes, forest: Forest) -> DataImage:
    prefixes = _prefixes(boxes.widths, forest.lows, forest.highs)
    place, members = layout(boxes.widths, prefixes), forest.members
    entries = np.zeros((len(members) + max(forest.longest), place.size), dtype=np.uint8)
    mine = entries[: len(members)]
    words = np.array([box.rule << 8 | box.code for box in boxes.boxes], dtype="<u4")[members]
    mine[:, 0:4] = words.view(np.uint8).reshape(-1, 4)
    for number, one in enumerate(place.places):
        low, extent = forest.lows[members, number], (forest.highs - forest.lows)[members, number]
        reach = np.frexp(extent.astype(np.float64))[1] if one.prefix else extent
        for offset, size, column in ((one.at, one.size, low), (one.reach_at, one.reach_size, reach)):
            values = column.astype(f"<u{size}")
            mine[:, offset : offset + size] = values.view(np.uint8).reshape(-1, size)
    nodes = _cells(forest.nodes)
    parameters = {
        "trees": len(forest.roots),
        "cells": len(forest.nodes),
        "last": len(members) - 1,
        "prefixes": prefixes,
    }
    for number, (root, group) in enumerate(zip(forest.roots, forest.groups, strict=True)):
        parameters |= {
            f"root{number}": root,
            f"first{number}": boxes.boxes[int(group[0])].rule,
            f"depth{number}": forest.depths[number],
            f"longest{number}": forest.longest[number],
        }
    sections = (("nodes", nodes, 8), ("entries", entries.tobytes(), 4))
    return DataImage(sections, tuple(parameters.items()))


def _cells(words: NDArray[np.uint64]) -> bytes:
    """The upper 40 bits of words, one behind the other, and what makes whole words of eight bytes of them."""
    cells = (words >> FIRST).astype("<u8").view(np.uint8).reshape(-1, 8)[:, :CELL_BYTES]
    size = len(words) * CELL_BYTES + READ_BYTES - CELL_BYTES
    return cells.tobytes().ljust(-(-size // READ_BYTES) * READ_BYTES, b"\0")


def _prefixes(widths: Sequence[int], lows: Ints, highs: Ints) -> int:
    """A bit for each dimension of 32 bits in which all boxes ask for prefixes."""
    extents = highs - lows
    aligned = ((extents & extents + 1) == 0) & ((lows & extents) == 0)
    wide = [d.bits == 32 for d in dimensions(widths)]
    return sum(1 << n for n, whole in enumerate(aligned.all(axis=0)) if whole and wide[n])


def model(image: DataImage, widths: Sequence[int], key: Sequence[int]) -> tuple[int, int] | None:
    """Walks the trees as generated code does."""
    nodes, entries = (data for _, data, _ in image.sections)
    values = [key[d.of] >> d.shift & (1 << d.bits) - 1 for d in dimensions(widths)]
    found: int | None = None
    for number in range(image.parameter("trees")):
        if found is not None and found >> 8 < image.parameter(f"first{number}"):
            break
        word = image.parameter(f"root{number}")
        while not word & LEAF:
            shift, bits, at = word >> SHIFT & 31, word >> BITS & 31, word >> DIMENSION & 15
            child = _first(word) + (values[at] >> shift & (1 << bits) - 1)
            word = int.from_bytes(nodes[CELL_BYTES * child :][:CELL_BYTES], "little") << FIRST
        here = _first_in_leaf(entries, word, layout(widths, image.parameter("prefixes")), values)
        if here is not None and (found is None or here >> 8 < found >> 8):
            found = here
    return None if found is None else (found >> 8, found & 0xFF)


def _first(word: int) -> int:
    return word >> FIRST & (1 << SHIFT - FIRST) - 1


def _first_in_leaf(entries: bytes, word: int, place: Layout, values: Sequence[int]) -> int | None:
    """The rule and code of the first entry of a leaf that holds the values."""
    for number in range((word & LEAF - 1) >> COUNT):
        at = (_first(word) + number) * place.size
        entry = entries[at : at + place.size]
        if all(_holds(entry, one, value) for one, value in zip(place.places, values, strict=True)):
            return int(struct.unpack_from("<I", entry)[0])
    return None


def _holds(entry: bytes, place: Place, value: int) -> bool:
    low = int.from_bytes(entry[place.at : place.at + place.size], "little")
    reach = int.from_bytes(entry[place.reach_at : place.reach_at + place.reach_size], "little")
    return (value ^ low) >> reach == 0 if place.prefix else low <= value <= low + reach


def steps(image: DataImage, widths: Sequence[int]) -> int:
    """Every node of the longest way and every entry of the largest leaf of each tree, an entry with all that
    may follow when it is the one. Counted on Linux 6.18."""
    entry_steps = ENTRY_STEPS * len(dimensions(widths))
    trees = range(image.parameter("trees"))
    ways = sum(image.parameter(f"depth{number}") for number in trees)
    return NODE_STEPS * ways + entry_steps * sum(image.parameter(f"longest{number}") for number in trees)


def cost(boxes: Boxes) -> Cost:
    """Grows with the logarithm of the boxes, and with the caches that they no longer fit."""
    count = len(boxes.boxes)
    size = count * (16 + layout(boxes.widths, 0).size) * 2
    return Cost(BIT_NS * count.bit_length() + read_ns(size), 400, size)
