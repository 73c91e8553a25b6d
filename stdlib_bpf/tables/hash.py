"""Single values in a kernel hash map: for IPv6 hosts, and for sets that change entry by entry.

Key: the value, big endian, width/8 bytes. Value: one byte, 1. Source: kernel/bpf/hashtab.c.
Measured: 26 ns up to 10,000 entries, 140 ns at 100,000, 440 ns at a million (about 81 bytes an entry).
"""

from __future__ import annotations

from functools import lru_cache

from ..sets import IntervalSet
from .base import MAP_UPDATE_NS, Cost, DataImage, MapImage, MapSpec
from .memory import read_ns

KIND = "hash"
WIDTHS = frozenset({8, 16, 32, 128})
UPDATABLE = True
EXACT = True

BPF_MAP_TYPE_HASH = 1
BASE_NS = 24.0
ENTRY_BYTES = 64


def entries(values: IntervalSet, width_bits: int) -> int:
    """One per value."""
    return values.count


def build(values: IntervalSet, width_bits: int, max_entries: int) -> MapImage:
    """Entries in ascending order. ValueError when there are more values than `max_entries`."""
    count = values.count
    if count > max_entries:
        raise ValueError(f"{count} values do not fit {max_entries} entries")
    size = width_bits // 8
    keys = b"".join(value.to_bytes(size) for low, high in values for value in range(low, high + 1))
    spec = MapSpec(BPF_MAP_TYPE_HASH, size, 1, max(1, max_entries))
    return MapImage(spec, count, keys, b"\1" * count)


def model(image: MapImage | DataImage, key: int, width_bits: int) -> bool:
    """Whether the key's bytes are among the map's keys."""
    assert isinstance(image, MapImage)
    return key.to_bytes(width_bits // 8) in _keys(image)


def cost(values: IntervalSet, width_bits: int, max_entries: int) -> Cost:
    """Two dependent reads (bucket, element) behind the call of the helper."""
    size = max(1, max_entries) * (ENTRY_BYTES + width_bits // 8)
    return Cost(BASE_NS + 2 * (read_ns(size) - read_ns(0)), 12, size, MAP_UPDATE_NS)


@lru_cache(maxsize=32)
def _keys(image: MapImage) -> frozenset[bytes]:
    size = image.spec.key_size
    return frozenset(image.keys[i : i + size] for i in range(0, len(image.keys), size))
