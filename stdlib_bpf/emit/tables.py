"""Emits lookups: one function for each block of `stdlib_bpf.tables`, of the same meaning as its `model`.

Each gets the key in host order and jumps to `yes` or `no`. `LOOKUPS` is the table by kind.
"""

from __future__ import annotations

from collections.abc import Callable

from ..tables import perfect6 as perfect
from ..tables import prefix_index as prefix
from ..tables.base import DataImage, MapImage
from . import trees
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


def perfect6(
    f: Function, name: str, image: MapImage | DataImage, key: Value, width: int, yes: Label, no: Label
) -> None:
    """One mix, the pilot of its group, the key in its slot (`tables.perfect6.model`)."""
    assert isinstance(image, DataImage)
    number = image.parameter
    if not number("some"):
        f.jump(no)
        return
    upper, lower = f.trunc(f.op("lshr", key, width // 2), "i64"), f.trunc(key, "i64")
    mix = f.op("mul", upper, number("first"))
    mix = f.op("mul", f.op("add", f.op("xor", mix, f.op("lshr", mix, 32)), lower), number("second"))
    mix = f.op("mul", f.op("xor", mix, f.op("lshr", mix, 29)), number("third"))
    group = f.op("lshr", f.op("mul", f.op("lshr", mix, perfect.WORD), number("groups")), perfect.WORD)
    pilot = f.zext(f.load("i16", f.gep(Value("ptr", f"@{name}_pilots"), group, "i16")), "i32")
    turned = f.op("xor", f.trunc(mix, "i32"), f.op("mul", pilot, perfect.SPREAD))
    place = f.op("mul", f.zext(f.op("mul", turned, perfect.TURN), "i64"), number("places"))
    slot = f.gep(Value("ptr", f"@{name}_slots"), f.op("shl", f.op("lshr", place, perfect.WORD), 1), "i64")
    halves = (f.load("i64", slot), f.load("i64", f.gep(slot, 8)))
    differ = f.op("or", f.op("xor", halves[0], upper), f.op("xor", halves[1], lower))
    f.branch(f.compare("eq", differ, 0), yes, no)


def prefix_index(
    f: Function, name: str, image: MapImage | DataImage, key: Value, width: int, yes: Label, no: Label
) -> None:
    """The slot, smaller ones inside it where it is a node, then all its words at once
    (`tables.prefix_index.model`)."""
    assert isinstance(image, DataImage)
    index, words = Value("ptr", f"@{name}_index"), Value("ptr", f"@{name}_words")
    number, held_bits = image.parameter, prefix.HELD_BITS
    slot = f.zext(f.op("lshr", key, prefix.LOW_BITS), "i64")
    low = rest = f.zext(f.op("and", key, (1 << prefix.LOW_BITS) - 1), "i64")
    word = f.zext(f.load("i32", f.gep(index, slot, "i32")), "i64")
    if number("levels"):
        result, arrived = f.alloca("i64", "slot"), f.label("arrived")
        f.store(word, result)
    for _ in range(number("levels")):
        node = f.label("node")
        is_node = f.compare("eq", f.op("and", word, prefix.HELD_MASK), prefix.IS_NODE)
        f.branch(is_node, node, arrived, likely=False)
        f.place(node)
        shift = f.op("and", f.op("lshr", word, held_bits), prefix.SHIFT_MASK)
        place = f.op("lshr", rest, shift)
        rest = f.op("sub", rest, f.op("shl", place, shift))
        at = f.at_most(
            f.op("add", f.op("lshr", word, held_bits + prefix.SHIFT_BITS), place), number("last_slot")
        )
        word = f.zext(f.load("i32", f.gep(index, at, "i32")), "i64")
        f.store(word, result)
    if number("levels"):
        f.jump(arrived)
        f.place(arrived)
        word = f.load("i64", result)
    held = f.op("and", word, prefix.HELD_MASK)
    first = f.gep(words, f.at_most(f.op("lshr", word, held_bits), number("last_word")), "i64")
    wanted = f.op("mul", f.op("or", f.op("shl", low, 1), 1), prefix.ONES)
    found = const("i64", 0)
    for behind in range(prefix.WORDS):
        codes = f.load("i64", f.gep(first, 8 * behind))
        beyond = f.op(
            "xor", f.op("xor", codes, f.op("sub", codes, prefix.ONES)), -1
        )  # bits that must be alike
        differ = f.op("and", f.op("xor", codes, wanted), beyond)
        zero = f.op("and", f.op("sub", differ, prefix.ONES), f.op("xor", differ, -1))
        counts = f.op("ashr", f.op("sub", const("i64", behind), held), 63)  # ones for the slot's own words
        found = f.op("or", found, f.op("and", zero, counts))
    f.branch(f.compare("ne", f.op("and", found, prefix.TOPS), 0), yes, no)


def range_tree(
    f: Function, name: str, image: MapImage | DataImage, key: Value, width: int, yes: Label, no: Label
) -> None:
    """A walk through slots, a search in a leaf, perhaps one in a cell (`tables.range_tree.model`)."""
    assert isinstance(image, DataImage)
    ends = trees.Ends(yes, lambda _: f.jump(yes), lambda _, place: _parity(f, place, yes, no), no)
    trees.walk(f, name, image, key, width, ends)


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
    "prefix_index": prefix_index,
    "range_tree": range_tree,
    "perfect6": perfect6,
}
