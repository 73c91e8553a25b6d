"""Emits classifiers: one function for each block of `stdlib_bpf.classifiers`, of the same meaning as its
`model`.

Each gets the key, one value in host order for each field, leaves the word of the first box that holds it
(u32 rule << 8 | code) in `found` and jumps to `yes`, or to `no`. `CLASSIFY` is the table by kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..classifiers.grow import BITS, COUNT, DIMENSION, FIRST, SHIFT
from ..classifiers.rule_tree import CELL_BYTES, Layout, dimensions, layout
from ..tables.base import DataImage
from .llvm import Function, Label, Value, const

NONE = 0xFFFFFFFF  # more than any word: no box yet
WORD = "i32"


def rule_tree(
    f: Function,
    name: str,
    image: DataImage,
    key: Sequence[Value],
    widths: Sequence[int],
    found: Value,
    yes: Label,
    no: Label,
) -> None:
    """Walk the trees in order, as long as the next one's first rule comes before the one that was found."""
    dims, place = dimensions(widths), layout(widths, image.parameter("prefixes"))
    values = [f.resize(f.op("lshr", key[d.of], d.shift) if d.shift else key[d.of], WORD) for d in dims]
    room = f.room(64)
    for number, value in enumerate(values):
        f.store(value, f.gep(room, 4 * number))
    for number in range(len(dims), 16):
        f.store(const(WORD, 0), f.gep(room, 4 * number))
    f.store(const(WORD, NONE), found)
    done = f.label("classified")
    for number in range(image.parameter("trees")):
        following = f.label("next_tree")
        if number:
            walk = f.label("walk_tree")
            best = f.op("lshr", f.load(WORD, found), 8)
            f.branch(f.compare("ult", best, image.parameter(f"first{number}")), done, walk)
            f.place(walk)
        leaf = _walk(f, name, image, number, room, no)
        _scan(f, name, image, number, leaf, values, place, found, following)
        f.place(following)
    f.jump(done)
    f.place(done)
    f.branch(f.compare("eq", f.load(WORD, found), NONE), no, yes)


def _walk(f: Function, name: str, image: DataImage, number: int, room: Value, never: Label) -> Value:
    """Go down a tree; its leaf's word (i64). `never`: where no walk ends up."""
    root = image.parameter(f"root{number}")
    word = f.alloca("i64", "node")
    f.store(const("i64", root - (1 << 64) if root >> 63 else root), word)
    nodes, arrived = Value("ptr", f"@{name}_nodes"), f.label("leaf")
    for _ in range(image.parameter(f"depth{number}")):
        here, inner = f.load("i64", word), f.label("node")
        f.branch(f.compare("slt", here, 0), arrived, inner)
        f.place(inner)
        dimension = f.op("and", f.op("lshr", here, DIMENSION), 15)
        value = f.zext(f.load(WORD, f.gep(room, dimension, WORD)), "i64")
        shift = f.op("and", f.op("lshr", here, SHIFT), 31)
        bits = f.op("and", f.op("lshr", here, BITS), 31)
        window = f.op("sub", f.op("shl", const("i64", 1), bits), 1)
        child = f.op("and", f.op("lshr", value, shift), window)
        at, cell = f.op("add", _first(f, here), child), f.label("cell")
        f.branch(f.compare("ult", at, image.parameter("cells")), cell, never, likely=True)
        f.place(cell)
        f.store(f.op("shl", f.load("i64", f.gep(nodes, f.op("mul", at, CELL_BYTES))), FIRST), word)
    f.jump(arrived)
    f.place(arrived)
    return f.load("i64", word)


def _first(f: Function, word: Value) -> Value:
    """The first child or entry that a word speaks of (i64)."""
    return f.op("and", f.op("lshr", word, FIRST), (1 << SHIFT - FIRST) - 1)


def _scan(
    f: Function,
    name: str,
    image: DataImage,
    number: int,
    leaf: Value,
    values: Sequence[Value],
    place: Layout,
    found: Value,
    following: Label,
) -> None:
    """Compare the entries of a leaf in their order; the first that holds the key is kept if it comes before
    what was found."""
    count = f.op("lshr", f.op("shl", leaf, 1), COUNT + 1)
    first = f.at_most(_first(f, leaf), image.parameter("last"))
    start = f.gep(Value("ptr", f"@{name}_entries"), f.op("mul", first, place.size))
    place_in_leaf = f.alloca("i64", "entry")
    f.store(const("i64", 0), place_in_leaf)
    again, there, compare, more, held = (
        f.label(word) for word in ("scan", "scan_entry", "compare", "more_entries", "held")
    )
    f.jump(again)
    f.place(again)
    at = f.load("i64", place_in_leaf)
    f.branch(f.compare("ult", at, image.parameter(f"longest{number}")), there, following)
    f.place(there)
    f.branch(f.compare("ult", at, count), compare, following)
    f.place(compare)
    entry = f.gep(start, f.op("mul", at, place.size))
    outside = const("i64", 0)
    for value, one in zip(values, place.places, strict=True):
        low = f.zext(f.load(f"i{8 * one.size}", f.gep(entry, one.at)), WORD)
        reach = f.zext(f.load(f"i{8 * one.reach_size}", f.gep(entry, one.reach_at)), "i64")
        if one.prefix:
            differing = f.op("lshr", f.zext(f.op("xor", value, low), "i64"), reach)
            beyond = f.op("sub", const("i64", 0), differing)
        else:
            beyond = f.op("sub", reach, f.zext(f.op("sub", value, low), "i64"))
        outside = f.op("or", outside, beyond)
    f.branch(f.compare("slt", outside, 0), more, held)
    f.place(more)
    f.store(f.op("add", at, 1), place_in_leaf)
    f.jump(again)
    f.place(held)
    word = f.load(WORD, entry)
    better = f.label("better")
    f.branch(f.compare("ult", word, f.load(WORD, found)), better, following)
    f.place(better)
    f.store(word, found)
    f.jump(following)


Classify = Callable[[Function, str, DataImage, Sequence[Value], Sequence[int], Value, Label, Label], None]
CLASSIFY: dict[str, Classify] = {"rule_tree": rule_tree}
