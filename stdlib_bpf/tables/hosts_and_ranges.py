"""Block lists of addresses and prefixes mixed: the single addresses in a `cuckoo`, all else in a
`range_index`.

An address in a range index costs two boundaries of two bytes and crowds its chunk; in a cuckoo table it costs
two bytes. The image is the sections and parameters of both, whose names differ; a key is in the set when
either says so.
"""

from __future__ import annotations

from ..sets import IntervalSet
from . import cuckoo, range_index
from .arrays import singles
from .base import Cost, DataImage, MapImage

KIND = "hosts_and_ranges"
WIDTHS = frozenset({32})
UPDATABLE = False
EXACT = False


def entries(values: IntervalSet, width_bits: int) -> int:
    """One per range."""
    return len(values)


def build(values: IntervalSet, width_bits: int, max_entries: int) -> DataImage:
    """Both tables, side by side. ValueError for keys of another width."""
    hosts = IntervalSet(tuple(pair for pair in values.ranges if pair[0] == pair[1]))
    ranges = IntervalSet(tuple(pair for pair in values.ranges if pair[0] != pair[1]))
    exact = cuckoo.build(hosts, width_bits, len(hosts))
    rest = range_index.build(ranges, width_bits, len(ranges))
    return DataImage((*exact.sections, *rest.sections), (*exact.parameters, *rest.parameters))


def model(image: MapImage | DataImage, key: int, width_bits: int) -> bool:
    """Whether one of the two holds the key."""
    return cuckoo.model(image, key, width_bits) or range_index.model(image, key, width_bits)


def cost(values: IntervalSet, width_bits: int, max_entries: int) -> Cost:
    """One after the other: a miss asks both, and what both take from the caches is one footprint."""
    hosts = singles(values)
    a, b = cuckoo.cost_of(hosts), range_index.cost_of(len(values) - hosts)
    return Cost(
        a.latency_ns + b.latency_ns,
        a.instructions + b.instructions,
        a.bytes + b.bytes,
        a.update_ns + b.update_ns,
    )
