"""The tables of flows in the kernel (`stdlib_bpf.state.flows`): read, swept of what is silent, emptied.

Programs write them all the time: what is read is a moment of each entry, not of the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lockgate.stdlib_bpf.state.flows import FLOW, FLOWS, KEY, Flow, Key, unpack

from .sys import bpf
from .sys.fd import Fd


def read(tables: Mapping[str, Fd]) -> Iterator[tuple[Key, Flow]]:
    """Every flow of the tables, by their names."""
    for name, table in tables.items():
        for key, value in bpf.map_items(table, KEY.size, FLOW.size):
            yield unpack(key, value, name == FLOWS)


def clear(table: Fd) -> None:
    """Remove every flow."""
    for key in [key for key, _ in bpf.map_items(table, KEY.size, FLOW.size)]:
        bpf.map_delete(table, key)


def sweep(table: Fd, confirmed: bool, now_ns: int) -> int:
    """Remove flows that have been silent for too long; how many. One that is heard of in the same moment is
    lost, and judged anew."""
    gone = [
        key
        for key, value in bpf.map_items(table, KEY.size, FLOW.size)
        if not unpack(key, value, confirmed)[1].lives(now_ns)
    ]
    return sum(bpf.map_delete(table, key) for key in gone)
