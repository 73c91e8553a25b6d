"""Emits tag lookups: one function for each block of `stdlib_bpf.tags`, of the same meaning as its `model`.

Each gets the key in host order and gives its tag (i32), in the block where code goes on. `TAGS` is the table
by kind.
"""

from __future__ import annotations

from collections.abc import Callable

from ..tables.base import DataImage
from ..tags.base import TAG_BITS, TAG_MASK
from ..tags.tag_index import INSIDE_AT, LOW_BITS, PLACE_AT
from . import trees
from .llvm import Function, Value, const


def tag_index(f: Function, name: str, image: DataImage, key: Value, width: int) -> Value:
    """The index, then a branch-free search of fixed length (`tags.tag_index.model`)."""
    mask = image.parameter("entries_mask")
    index, entries = Value("ptr", f"@{name}_index"), Value("ptr", f"@{name}_entries")
    word = f.load("i64", f.gep(index, f.zext(f.op("lshr", key, LOW_BITS), "i64"), "i64"))
    tag, search, done = f.alloca("i64", "tag"), f.label("search"), f.label("tagged")
    f.store(f.op("and", word, TAG_MASK), tag)
    inside = f.op("and", f.op("lshr", word, INSIDE_AT), TAG_MASK)
    f.branch(f.compare("eq", inside, 0), done, search)

    f.place(search)
    low = f.zext(f.op("and", key, (1 << LOW_BITS) - 1), "i64")
    wanted = f.op("or", f.op("shl", low, TAG_BITS), TAG_MASK)

    def entry(at: Value) -> Value:
        return f.zext(f.load("i32", f.gep(entries, f.op("and", at, mask), "i32")), "i64")

    at, held = f.op("lshr", word, PLACE_AT), f.op("add", inside, 1)
    for _ in range(image.parameter("steps")):
        half = f.op("lshr", held, 1)
        reached = f.op("lshr", f.op("sub", f.op("sub", entry(f.op("add", at, half)), wanted), 1), 63)
        at, held = f.op("add", at, f.op("mul", half, reached)), f.op("sub", held, half)
    f.store(f.op("and", entry(at), TAG_MASK), tag)
    f.jump(done)
    f.place(done)
    return f.trunc(f.load("i64", tag), "i32")


def tag_tree(f: Function, name: str, image: DataImage, key: Value, width: int) -> Value:
    """The walk of `range_tree`, then the tag of what was found (`tags.tag_tree.model`)."""
    tag, nothing, full, done = f.alloca("i64", "tag"), f.label("untagged"), f.label("full"), f.label("tagged")

    def read(section: str, at: Value) -> Value:
        place = f.op("and", at, image.parameter(f"{section}_mask"))
        return f.zext(f.load("i16", f.gep(Value("ptr", f"@{name}_{section}"), place, "i16")), "i64")

    def code(at: Value) -> None:
        f.store(read("tags", at), tag)
        f.jump(done)

    def cell(begin: Value, place: Value) -> None:
        some = f.op("ashr", f.op("sub", begin, place), 63)  # all ones where a boundary is at or below the key
        f.store(f.op("and", read("turns", f.op("sub", place, 1)), some), tag)
        f.jump(done)

    word = trees.walk(f, name, image, key, width, trees.Ends(full, code, cell, nothing))
    f.place(nothing)
    f.store(const("i64", 0), tag)
    f.jump(done)
    f.place(full)
    f.store(f.op("and", f.load("i64", word), TAG_MASK), tag)
    f.jump(done)
    f.place(done)
    return f.trunc(f.load("i64", tag), "i32")


TAGS: dict[str, Callable[[Function, str, DataImage, Value, int], Value]] = {
    "tag_index": tag_index,
    "tag_tree": tag_tree,
}
