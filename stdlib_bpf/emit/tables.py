"""Emits lookups: one function for each block of `stdlib_bpf.tables`, of the same meaning as its `model`.

Each gets the key in host order and jumps to `yes` or `no`. `LOOKUPS` is the table by kind.
"""

from __future__ import annotations

from collections.abc import Callable

from ..tables.base import DataImage, MapImage
from .llvm import NULL, Function, Label, Value, const

BPF_MAP_LOOKUP_ELEM = 1


def hash_(
    f: Function, name: str, image: MapImage | DataImage, key: Value, width: int, yes: Label, no: Label
) -> None:
    """A kernel hash map keyed by the value in network order."""
    slot = f.room(24)
    _store_be(f, key, width, slot, 0)
    found(f, f.call_helper(BPF_MAP_LOOKUP_ELEM, "ptr", Value("ptr", f"@{name}"), slot), yes, no)


def lpm_trie(
    f: Function, name: str, image: MapImage | DataImage, key: Value, width: int, yes: Label, no: Label
) -> None:
    """A kernel LPM trie."""
    table = Value("ptr", f"@{name}")
    found(f, f.call_helper(BPF_MAP_LOOKUP_ELEM, "ptr", table, trie_key(f, key, width)), yes, no)


def trie_key(f: Function, key: Value, width: int) -> Value:
    """Where a key for an LPM trie lies: struct bpf_lpm_trie_key with the full prefix length, then the value
    in network order."""
    slot = f.room(24)
    f.store(const("i32", width), slot, align=4)
    _store_be(f, key, width, slot, 4)
    return slot


def range_index(
    f: Function, name: str, image: MapImage | DataImage, key: Value, width: int, yes: Label, no: Label
) -> None:
    """Parity of rank, read in place (`tables.range_index.model`): the index of the upper bits says how many
    boundaries lie before the chunk, a branch-free search of fixed length counts those inside."""
    assert isinstance(image, DataImage)
    bits, mask = image.parameter("index_bits"), image.parameter("bounds_mask")
    low_bits = width - bits
    chunk = f.zext(f.op("lshr", key, low_bits), "i64")
    index = Value("ptr", f"@{name}_index")
    first = f.load("i32", f.gep(index, chunk, "i32"))
    behind = f.load("i32", f.gep(index, f.op("add", chunk, 1), "i32"))
    inside = f.op("sub", behind, first)
    search, uniform = f.label("search"), f.label("uniform")
    f.branch(f.compare("eq", inside, 0), uniform, search)
    f.place(uniform)
    f.branch(f.compare("ne", f.op("and", first, 1), 0), yes, no)

    f.place(search)
    low = f.zext(f.op("and", key, (1 << low_bits) - 1), "i64")
    position, length = f.zext(first, "i64"), f.zext(inside, "i64")

    def reached(at: Value) -> Value:
        """1 when the boundary at an index is ≤ the key's low bits, else 0: no branch to mispredict."""
        bounds = Value("ptr", f"@{name}_bounds")
        bound = f.zext(f.load("i16", f.gep(bounds, f.op("and", at, mask), "i16")), "i64")
        return f.op("lshr", f.op("sub", f.op("sub", bound, low), 1), 63)

    for _ in range(image.parameter("steps")):
        half = f.op("lshr", length, 1)
        step = f.op("mul", half, reached(f.op("sub", f.op("add", position, half), 1)))
        position = f.op("add", position, step)
        length = f.op("sub", length, half)
    position = f.op("add", position, reached(position))
    f.branch(f.compare("ne", f.op("and", position, 1), 0), yes, no)


def _store_be(f: Function, key: Value, width: int, slot: Value, at: int) -> None:
    """Write a key in network order; halves of 64 bits, since the stack is aligned to no more."""
    if width == 128:
        f.store(f.byteswap(f.trunc(f.op("lshr", key, 64), "i64")), f.gep(slot, at), align=4)
        f.store(f.byteswap(f.trunc(key, "i64")), f.gep(slot, at + 8), align=4)
    elif width == 8:
        f.store(f.trunc(key, "i8"), f.gep(slot, at))
    else:
        f.store(f.byteswap(f.trunc(key, f"i{width}")), f.gep(slot, at), align=min(width // 8, 4))


def found(f: Function, entry: Value, yes: Label, no: Label) -> None:
    """Jump to `yes` when there is an entry."""
    f.branch(f.compare("ne", entry, Value("ptr", NULL.ref)), yes, no)


Lookup = Callable[[Function, str, MapImage | DataImage, Value, int, Label, Label], None]
LOOKUPS: dict[str, Lookup] = {"hash": hash_, "lpm_trie": lpm_trie, "range_index": range_index}
