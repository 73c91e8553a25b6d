"""Log events of a loaded policy: read from the ring buffer that its programs write
(`stdlib_bpf.state.events`).

A ring has one reader: two `lockgate events` of one policy at the same time would share the events between
them.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from lockgate.stdlib_bpf.manifest import Slot
from lockgate.stdlib_bpf.state.events import EVENT, FLOW_END, NO_RULE, PACKET
from lockgate.stdlib_bpf.state.flows import Key, key_from

from .errors import SystemRefused
from .running import Running
from .sys.ring import Ring


@dataclass(frozen=True)
class FlowEnd:
    """A flow that has ended, members as in `stdlib_bpf.state.flows`."""

    key: Key
    packets: tuple[int, int]
    bytes: tuple[int, int]
    since_ns: int
    opener: int


@dataclass(frozen=True)
class Event:
    """One packet that a rule with `log` decided, or the end of a flow that one has let in (`flow`).
    `kind`: as in `stdlib_bpf.state.events`. `ktime_ns`: CLOCK_MONOTONIC; `length`: of the whole frame in
    bytes; `header`: the frame's beginning, as captured. `destination`: (protocol, address, port) at connect,
    in place of a header."""

    ktime_ns: int
    chain: str
    slot: Slot
    ifindex: int
    length: int
    header: bytes
    destination: tuple[int, str, int] | None
    kind: int = PACKET
    flow: FlowEnd | None = None


def follow(running: Running, seconds: float | None = None) -> Iterator[Event]:
    """Events as they come, for `seconds` (None: until the caller stops). SystemRefused when no rule logs."""
    maps = [m for c in running.state.manifest.chains for m in c.maps if m.role == "events"]
    if not maps:
        raise SystemRefused(
            f"no rule of `{running.name}` has `log`",
            (),
            ("add the option `log` to a rule, build and `up` again",),
        )
    deadline = None if seconds is None else time.monotonic() + seconds
    with running.open_map("events") as fd:
        ring = Ring(fd, maps[0].max_entries)
        try:
            with select.epoll() as poll:
                poll.register(fd.number, select.EPOLLIN)
                while True:
                    for record in ring.records():
                        yield decode(running, record)
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        return
                    poll.poll(left)
        finally:
            ring.close()


def decode(running: Running, record: bytes) -> Event:
    """One record as an event."""
    raw = EVENT.unpack(record)
    number = {k: v for k, v in raw.items() if isinstance(v, int)}
    header = raw["header"]
    assert isinstance(header, bytes)
    chains = running.state.manifest.chains
    chain = chains[number["policy"]] if number["policy"] < len(chains) else chains[0]
    slots = chain.slots
    unknown = "a rule of an earlier load" if number["slot"] == NO_RULE else str(number["slot"])
    slot = slots[number["slot"]] if number["slot"] < len(slots) else Slot("unknown", unknown)
    ended = number["kind"] != PACKET
    return Event(
        number["ktime_ns"],
        chain.name,
        slot,
        number["ifindex"],
        number["length"],
        header[: number["captured"]],
        _destination(header) if chain.hook == "connect" else None,
        number["kind"],
        _flow_end(header) if ended else None,
    )


def _flow_end(header: bytes) -> FlowEnd:
    received, sent = (struct.unpack_from("<2Q", header, FLOW_END.offset(n)) for n in ("packets", "bytes"))
    number = {k: v for k, v in FLOW_END.unpack(header).items() if isinstance(v, int)}
    return FlowEnd(key_from(header), received, sent, number["since_ns"], number["opener"])


def _destination(header: bytes) -> tuple[int, str, int]:
    """family u32, protocol u32, port u32 in host order, zero u32, 16 bytes of address."""
    family, protocol, port, _ = struct.unpack_from("<IIII", header)
    raw = header[16:32]
    if family == 6:
        return protocol, socket.inet_ntop(socket.AF_INET6, raw), port
    return protocol, socket.inet_ntop(socket.AF_INET, raw[:4]), port
