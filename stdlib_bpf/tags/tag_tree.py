"""Tags of IPv6 addresses: the tree of `tables.range_tree` over the ranges of all members, codes with tags.

    {2001:db8::/32}, {2001:db8:1::/48}: 2001:db8::/48 tag 1, 2001:db8:1::/48 tag 3, 2001:db8:2::/47 tag 1 …

Ranges of one tag become disjoint prefixes, and the tree finds the one that holds a key. Layout, beside that
of `range_tree`: a full slot is 1 << 31 | tag; `tags` u16, by number of code; `turns` u16, the tag from each
boundary of the cells on (before a cell's first boundary nothing is held).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..sets import IntervalSet
from ..tables import range_tree
from ..tables.arrays import section
from ..tables.base import Cost, DataImage, rebuilt_ns
from ..tables.memory import read_ns
from .base import TAG_MASK
from .merged import ranges

KIND = "tag_tree"
WIDTHS = frozenset({128})

KEY_BITS = 128
# Of a prefix: memory, of that what lookups touch. A range of one tag is some two prefixes, as ranges overlap.
PREFIX_BYTES, TOUCHED_BYTES, PREFIXES = 26, 9, 2


def build(members: Sequence[IntervalSet], width_bits: int) -> DataImage:
    """The sections and parameters of `range_tree`, `tags` and `turns`. ValueError for keys of another width,
    or more than 2**25 prefixes."""
    if width_bits != KEY_BITS:
        raise ValueError(f"{KIND} holds keys of {KEY_BITS} bits, not of {width_bits}")
    found = [
        (value, length, tag)
        for low, high, tag in ranges(members)
        for value, length in IntervalSet(((low, high),)).prefixes(KEY_BITS)
    ]
    return range_tree.image_of(found, tagged=True)


def model(image: DataImage, key: int, width_bits: int) -> int:
    """The tag of the prefix that holds the key, read from the bytes as generated code does."""
    kind, number = range_tree.found(image, key)
    match kind:
        case "full":
            return number & TAG_MASK
        case "code":
            return section(image, "tags")[number & image.parameter("tags_mask")]
        case "cell":
            begin, place = range_tree.rank(image, number, key)
            tag = section(image, "turns")[place - 1 & image.parameter("turns_mask")]
            return tag if place > begin else 0
    return 0


def cost(ranges: int, width_bits: int) -> Cost:
    """That of a `range_tree` of as many prefixes, and one read more."""
    count = PREFIXES * ranges
    reads = range_tree.READS + 1
    ns = range_tree.BASE_NS + reads * read_ns(TOUCHED_BYTES * count)
    return Cost(ns, 120, PREFIX_BYTES * count, rebuilt_ns(ranges))
