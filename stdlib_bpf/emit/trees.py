"""Emits the walk through a tree of IPv6 prefixes (`tables.range_tree`), for membership and for tags."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..tables.base import DataImage
from ..tables.range_tree import (
    CUT_AT,
    HELD_AT,
    HELD_MASK,
    IS_FULL,
    IS_NODE,
    NUMBER_MASK,
    PLACE_MASK,
    SHIFT_AT,
    SMALL_MASK,
)
from .llvm import Function, Label, Value, const


@dataclass(frozen=True)
class Ends:
    """Where a walk goes on. `full`: in a slot of one prefix, whose word lies in `walk`'s answer; `code`: gets
    the number of the code that holds the key; `cell`: gets where the boundaries of a cell begin, and the
    place behind those at or below the key; `nothing`: no prefix holds it. The two functions emit code that
    ends in a jump."""

    full: Label
    code: Callable[[Value], None]
    cell: Callable[[Value, Value], None]
    nothing: Label


def walk(f: Function, name: str, image: DataImage, key: Value, width: int, ends: Ends) -> Value:
    """A walk through slots, a search in a leaf, perhaps one in a cell (`tables.range_tree.found`). Where the
    slot's word (i64) lies."""
    number, inside = image.parameter, f.label("inside")
    upper, lower = f.trunc(f.op("lshr", key, width // 2), "i64"), f.trunc(key, "i64")
    room, value, cut = _leaf(f, name, image, f.op("sub", upper, number("origin")), ends)
    word = f.load("i64", room)
    at = f.op("and", word, NUMBER_MASK)
    held = f.op("and", f.op("lshr", word, HELD_AT), HELD_MASK)
    f.branch(f.compare("eq", held, 0), ends.nothing, inside)
    f.place(inside)
    wanted = f.op("or", f.op("shl", f.op("lshr", value, cut), 1), 1)

    def code(at: Value) -> Value:
        place = f.op("and", at, number("codes_mask"))
        return f.zext(f.load("i32", f.gep(Value("ptr", f"@{name}_codes"), place, "i32")), "i64")

    for _ in range(number("steps")):
        half = f.op("lshr", held, 1)
        tried = f.op("lshr", code(f.op("add", at, half)), 1)
        begin = f.op("and", tried, f.op("sub", tried, 1))
        reached = f.op("lshr", f.op("sub", f.op("sub", begin, wanted), 1), 63)
        at, held = f.op("add", at, f.op("mul", half, reached)), f.op("sub", held, half)
    found = code(at)
    nearest, within = f.op("lshr", found, 1), f.label("within")
    reach = f.op("xor", nearest, f.op("sub", nearest, 1))
    f.branch(f.compare("ugt", f.op("xor", nearest, wanted), reach), ends.nothing, within)
    f.place(within)
    if number("deep"):
        cell, plain = f.label("cell"), f.label("plain")
        f.branch(f.compare("ne", f.op("and", found, 1), 0), cell, plain)
        f.place(cell)
        record = f.op("and", f.op("shl", at, 1), number("cells_mask"))
        first = f.gep(Value("ptr", f"@{name}_cells"), record, "i64")
        low, high = f.load("i64", first), f.load("i64", f.gep(first, 8))
        if number("listed"):
            list_, span = f.label("list"), f.label("span")
            f.branch(f.compare("ugt", low, high), list_, span)
            f.place(list_)
            ends.cell(*_rank(f, name, image, low, (upper, lower)))
            f.place(span)
        f.branch(f.compare("ugt", f.op("sub", upper, low), f.op("sub", high, low)), ends.nothing, plain)
        f.place(plain)
    ends.code(at)
    return room


def _leaf(f: Function, name: str, image: DataImage, value: Value, ends: Ends) -> tuple[Value, Value, Value]:
    """Where the word of the leaf that a key falls into lies, the key from its begin on, and how many bits its
    codes leave out."""
    number, arrived = image.parameter, f.label("arrived")
    slots, nodes = Value("ptr", f"@{name}_slots"), Value("ptr", f"@{name}_nodes")
    results = [f.alloca("i64", hint) for hint in ("leaf", "value", "cut")]
    limit, shift, cut = (const("i64", number(n)) for n in ("limit", "shift", "cut"))
    first = const("i64", 0)
    for further in reversed(range(number("levels"))):
        inside, other = f.label("inside"), f.label("other")
        f.branch(f.compare("ugt", value, limit), ends.nothing, inside)
        f.place(inside)
        slot = f.op("lshr", value, shift)
        place = f.op("and", f.op("add", slot, first), number("slots_mask"))
        word = f.zext(f.load("i32", f.gep(slots, place, "i32")), "i64")
        value = f.op("sub", value, f.op("shl", slot, shift))
        for result, room in zip((word, value, cut), results, strict=True):
            f.store(result, room)
        f.branch(f.compare("ult", word, IS_NODE), arrived, other)
        f.place(other)
        if not further:
            f.jump(ends.full)
            break
        node = f.label("node")
        f.branch(f.compare("uge", word, IS_FULL), ends.full, node)
        f.place(node)
        at = f.op("and", f.op("shl", word, 2), number("nodes_mask"))
        start, limit, packed = (f.load("i64", f.gep(f.gep(nodes, at, "i64"), 8 * i)) for i in range(3))
        value, first = f.op("sub", value, start), f.op("and", packed, PLACE_MASK)
        shift = f.op("and", f.op("lshr", packed, SHIFT_AT), SMALL_MASK)
        cut = f.op("lshr", packed, CUT_AT)
    f.place(arrived)
    return results[0], f.load("i64", results[1]), f.load("i64", results[2])


def _rank(
    f: Function, name: str, image: DataImage, cell: Value, key: tuple[Value, Value]
) -> tuple[Value, Value]:
    """Where the boundaries of a cell's list begin, and behind those at or below the key, both of 128 bits in
    halves (`tables.range_tree.rank`). `cell`: the first word of its record."""
    mask = image.parameter("uppers_mask")
    first, held = f.op("and", cell, PLACE_MASK), f.op("lshr", cell, 32)
    place = first

    def reached(at: Value) -> Value:
        """1 when the boundary at an index is ≤ the key: no borrow of key - boundary, half by half."""
        at, borrow = f.op("and", at, mask), const("i64", 0)
        for half, part in ((key[1], "lowers"), (key[0], "uppers")):
            bound = f.load("i64", f.gep(Value("ptr", f"@{name}_{part}"), at, "i64"))
            borrow = _borrow(f, half, bound, borrow)
        return f.op("xor", borrow, 1)

    for _ in range(image.parameter("cell_steps")):
        half = f.op("lshr", held, 1)
        step = f.op("mul", half, reached(f.op("sub", f.op("add", place, half), 1)))
        place, held = f.op("add", place, step), f.op("sub", held, half)
    return first, f.op("add", place, reached(place))


def _borrow(f: Function, a: Value, b: Value, borrow: Value) -> Value:
    """Whether a - b - borrow is below zero, of 64 bits (Warren, Hacker's Delight, 2-13)."""
    other = f.op("xor", a, -1)
    difference = f.op("sub", f.op("sub", a, b), borrow)
    either = f.op("and", f.op("or", other, b), difference)
    return f.op("lshr", f.op("or", f.op("and", other, b), either), 63)
