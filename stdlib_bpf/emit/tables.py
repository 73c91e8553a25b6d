"""Emits lookups: one function for each block of `stdlib_bpf.tables`, of the same meaning as its `model`.

Each gets the key in host order and jumps to `yes` or `no`. `LOOKUPS` is the table by kind.
"""

from __future__ import annotations

from collections.abc import Callable

from ..tables.base import DataImage, MapImage
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
    _parity(f, first, yes, no)

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
    _parity(f, f.op("add", position, reached(position)), yes, no)


def cuckoo(
    f: Function, name: str, image: MapImage | DataImage, key: Value, width: int, yes: Label, no: Label
) -> None:
    """Two mixes, two buckets, all lanes at once (`tables.cuckoo.model`): a lane that equals the fingerprint
    is zero after the exclusive or, and zero lanes show in their top bits."""
    assert isinstance(image, DataImage)
    bits, lane_bits = image.parameter("bucket_bits"), image.parameter("lane_bits")
    ones = sum(1 << at for at in range(0, 64, lane_bits))
    multipliers = [image.parameter(place) for place in ("first", "second", "third")]
    mix = f.op("mul", f.op("add", key, multipliers[0]), multipliers[0])
    found: list[Value] = []
    for side, (shift, multiplier) in enumerate(zip((16, 15), multipliers[1:], strict=True)):
        mix = f.op("mul", f.op("xor", mix, f.op("lshr", mix, shift)), multiplier)
        bucket = f.op("add", f.zext(f.op("lshr", mix, width - bits), "i64"), side << bits)
        wanted = f.op("and", f.zext(mix, "i64"), (1 << lane_bits) - 1)
        word = f.load("i64", f.gep(Value("ptr", f"@{name}_buckets"), bucket, "i64"))
        lanes = f.op("xor", word, f.op("mul", wanted, ones))
        zero = f.op("and", f.op("sub", lanes, ones), f.op("xor", lanes, -1))
        # An empty lane is 0, so a fingerprint of 0 is nowhere: the sign of -wanted is then clear.
        given = f.op("ashr", f.op("sub", const("i64", 0), wanted), 63)
        found.append(f.op("and", f.op("and", zero, given), ones << lane_bits - 1))
    f.branch(f.compare("ne", f.op("or", *found), 0), yes, no)


def cuckoo6(
    f: Function, name: str, image: MapImage | DataImage, key: Value, width: int, yes: Label, no: Label
) -> None:
    """One mix, two buckets, all slots at once (`tables.cuckoo6.model`)."""
    assert isinstance(image, DataImage)
    number, bits = image.parameter, image.parameter("bucket_bits")
    if not number("some"):
        f.jump(no)
        return
    upper, lower = f.trunc(f.op("lshr", key, width // 2), "i64"), f.trunc(key, "i64")
    mix = f.op("mul", upper, number("first"))
    mix = f.op("mul", f.op("add", f.op("xor", mix, f.op("lshr", mix, 32)), lower), number("second"))
    mix = f.op("mul", f.op("xor", mix, f.op("lshr", mix, 29)), number("third"))
    second = f.op("and", f.op("lshr", mix, 64 - 2 * bits), (1 << bits) - 1)
    found: list[Value] = []
    for bucket in (f.op("lshr", mix, 64 - bits), f.op("add", second, 1 << bits)):
        slots = f.gep(Value("ptr", f"@{name}_slots"), f.op("shl", bucket, 2), "i64")
        for at in (0, 16):
            halves = (f.load("i64", f.gep(slots, at)), f.load("i64", f.gep(slots, at + 8)))
            differ = f.op("or", f.op("xor", halves[0], upper), f.op("xor", halves[1], lower))
            found.append(f.op("and", f.op("sub", differ, 1), f.op("xor", differ, -1)))  # top bit: none does
    either = f.op("or", f.op("or", found[0], found[1]), f.op("or", found[2], found[3]))
    f.branch(f.compare("ugt", either, (1 << 63) - 1), yes, no)


def hosts_and_ranges(
    f: Function, name: str, image: MapImage | DataImage, key: Value, width: int, yes: Label, no: Label
) -> None:
    """The single addresses first, then the ranges."""
    ranges = f.label("ranges")
    cuckoo(f, name, image, key, width, yes, ranges)
    f.place(ranges)
    range_index(f, name, image, key, width, yes, no)


def range_tree(
    f: Function, name: str, image: MapImage | DataImage, key: Value, width: int, yes: Label, no: Label
) -> None:
    """A walk through slots, a search in a leaf, perhaps one in a cell (`tables.range_tree.model`)."""
    assert isinstance(image, DataImage)
    number, inside = image.parameter, f.label("inside")
    upper, lower = f.trunc(f.op("lshr", key, width // 2), "i64"), f.trunc(key, "i64")
    word, value, cut = _leaf(f, name, image, f.op("sub", upper, number("origin")), yes, no)
    at = f.op("and", word, NUMBER_MASK)
    held = f.op("and", f.op("lshr", word, HELD_AT), HELD_MASK)
    f.branch(f.compare("eq", held, 0), no, inside)
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
    outcome = within if number("deep") else yes
    f.branch(f.compare("ugt", f.op("xor", nearest, wanted), reach), no, outcome)
    if number("deep"):
        f.place(within)
        cell = f.label("cell")
        f.branch(f.compare("ne", f.op("and", found, 1), 0), cell, yes)
        f.place(cell)
        _in_cell(f, name, image, at, (upper, lower), yes, no)


def _leaf(
    f: Function, name: str, image: DataImage, value: Value, yes: Label, no: Label
) -> tuple[Value, Value, Value]:
    """The leaf that a key falls into, the key from its begin on, and how many bits its codes leave out."""
    number, arrived = image.parameter, f.label("arrived")
    slots, nodes = Value("ptr", f"@{name}_slots"), Value("ptr", f"@{name}_nodes")
    results = [f.alloca("i64", hint) for hint in ("leaf", "value", "cut")]
    limit, shift, cut = (const("i64", number(n)) for n in ("limit", "shift", "cut"))
    first = const("i64", 0)
    for further in reversed(range(number("levels"))):
        inside, other = f.label("inside"), f.label("other")
        f.branch(f.compare("ugt", value, limit), no, inside)
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
            f.jump(yes)
            break
        node = f.label("node")
        f.branch(f.compare("uge", word, IS_FULL), yes, node)
        f.place(node)
        at = f.op("and", f.op("shl", word, 2), number("nodes_mask"))
        start, limit, packed = (f.load("i64", f.gep(f.gep(nodes, at, "i64"), 8 * i)) for i in range(3))
        value, first = f.op("sub", value, start), f.op("and", packed, PLACE_MASK)
        shift = f.op("and", f.op("lshr", packed, SHIFT_AT), SMALL_MASK)
        cut = f.op("lshr", packed, CUT_AT)
    f.place(arrived)
    word, value, cut = (f.load("i64", room) for room in results)
    return word, value, cut


def _in_cell(
    f: Function, name: str, image: DataImage, number: Value, key: tuple[Value, Value], yes: Label, no: Label
) -> None:
    """Parity of the number of a cell's boundaries at or below the key, both of 128 bits in halves."""
    mask = image.parameter("uppers_mask")
    cells = Value("ptr", f"@{name}_cells")
    cell = f.load("i64", f.gep(cells, f.op("and", number, image.parameter("cells_mask")), "i64"))
    place, held = f.op("and", cell, PLACE_MASK), f.op("lshr", cell, 32)

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
    _parity(f, f.op("add", place, reached(place)), yes, no)


def _borrow(f: Function, a: Value, b: Value, borrow: Value) -> Value:
    """Whether a - b - borrow is below zero, of 64 bits (Warren, Hacker's Delight, 2-13)."""
    other = f.op("xor", a, -1)
    difference = f.op("sub", f.op("sub", a, b), borrow)
    either = f.op("and", f.op("or", other, b), difference)
    return f.op("lshr", f.op("or", f.op("and", other, b), either), 63)


def _parity(f: Function, rank: Value, yes: Label, no: Label) -> None:
    f.branch(f.compare("ne", f.op("and", rank, 1), 0), yes, no)


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
LOOKUPS: dict[str, Lookup] = {
    "hash": hash_,
    "lpm_trie": lpm_trie,
    "range_index": range_index,
    "cuckoo": cuckoo,
    "hosts_and_ranges": hosts_and_ranges,
    "range_tree": range_tree,
    "cuckoo6": cuckoo6,
}
