"""The tables of flows in the kernel (`stdlib_bpf.state.flows`): read, swept of what is silent, emptied.

Programs write them all the time: what is read is a moment of each entry, not of the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lockgate.stdlib_bpf.state.expiry import HAND
from lockgate.stdlib_bpf.state.flows import FLOW, FLOWS, KEY, Flow, Key, unpack

from .sys import bpf
from .sys.fd import Fd


def read(tables: Mapping[str, Fd]) -> Iterator[tuple[Key, Flow]]:
    """Every flow of the tables, by their names."""
    for name, table in tables.items():
        for key, value in bpf.map_items(table, KEY.size, FLOW.size):
            yield unpack(key, value, name == FLOWS)


@dataclass(frozen=True)
class Pressure:
    """What the tables have been through since they were made (`stdlib_bpf.state.expiry`): flows `begun`,
    `confirmed` and `removed` because they were over; `no_room`: how often the table of confirmed flows was
    too full for one; `listed`: confirmed flows in it, about, with those that are over."""

    begun: int
    confirmed: int
    removed: int
    no_room: int
    listed: int


def pressure(hands: Fd) -> Pressure:
    """Read the counts."""
    said = HAND.unpack(bpf.map_lookup(hands, bytes(4), HAND.size) or bytes(HAND.size))
    number = {name: value for name, value in said.items() if isinstance(value, int)}
    listed = number["taken"] - number["examined"]
    return Pressure(number["begun"], number["confirmed"], number["removed"], number["room"], listed)


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
