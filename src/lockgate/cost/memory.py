"""What a chain's maps will take of the kernel's memory, and how long it takes to load; predicted.

Sizes as kernel/bpf/{arraymap,hashtab,lpm_trie,ringbuf}.c charge them, to a few percent.
"""

from __future__ import annotations

import os

from lockgate.compiler.codegen.module import Module
from lockgate.compiler.plan.ir import Plan
from lockgate.runtime.sys import attrs
from lockgate.stdlib_bpf import manifest

MAP_BYTES = 320  # of any map
ELEMENT_BYTES, BUCKET_BYTES = 48, 16  # of a hash
NODE_BYTES = 40  # of a trie, besides key and value; inner nodes are about as many as entries
PER_CPU = frozenset({attrs.MAP_TYPE_PERCPU_ARRAY})
ARRAYS = frozenset({attrs.MAP_TYPE_ARRAY, *PER_CPU})
# A program with its line information, a node of it, and a byte of tables.
LOAD_MS, NODE_MS, MIB_MS = 20.0, 0.7, 4.0


def predicted_bytes(module: Module, live_entries: int) -> int:
    """Of all maps and tables of a chain whose dynamic sets hold so many entries a family."""
    maps = sum(_map_bytes(one, live_entries) for one in module.maps)
    return maps + sum(MAP_BYTES + len(section.data) for section in module.data)


def predicted_load_ms(plan: Plan, size: int) -> float:
    """To create and fill maps of `size` bytes and have the programs of a chain verified."""
    return LOAD_MS + NODE_MS * len(plan.nodes) + MIB_MS * size / (1 << 20)


def _map_bytes(one: manifest.Map, live_entries: int) -> int:
    key, value = -(-one.key_size // 8) * 8, -(-one.value_size // 8) * 8
    if one.type == attrs.MAP_TYPE_RINGBUF:
        return MAP_BYTES + one.max_entries
    if one.type == attrs.MAP_TYPE_LPM_TRIE:
        held = one.image_count or min(live_entries, one.max_entries)
        return MAP_BYTES + 2 * held * (NODE_BYTES + key + value)
    if one.type in ARRAYS:
        return MAP_BYTES + one.max_entries * value * ((os.cpu_count() or 1) if one.type in PER_CPU else 1)
    return MAP_BYTES + one.max_entries * (ELEMENT_BYTES + BUCKET_BYTES + key + value)
