"""What `lockgate flows` shows: the flows of a running policy, with names for those who have one."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from lockgate.stdlib_bpf.manifest import Chain
from lockgate.stdlib_bpf.state import flows
from lockgate.stdlib_bpf.state.endpoints import ADDRESS_KEY, ADDRESSES, HEAD, address_key, record
from lockgate.stdlib_bpf.state.expiry import HANDS
from lockgate.stdlib_bpf.state.flows import Flow, Key

from . import flowtable, inventory
from .plan import map_key
from .running import Running
from .sys import bpf
from .sys.fd import Fd

PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6", 132: "sctp"}


@dataclass(frozen=True)
class End:
    """An address with its port, and whose it is ("" for nobody's)."""

    address: str
    port: int
    name: str

    @property
    def text(self) -> str:
        """For people."""
        shown = f"[{self.address}]" if ":" in self.address else self.address
        return (self.name or shown) + (f":{self.port}" if self.port else "")


@dataclass(frozen=True)
class Line:
    """A flow: `subject` is who is judged, `opened` whether it sent the first packet; times in ns."""

    protocol: str
    subject: End
    peer: End
    opened: bool
    state: str
    packets: tuple[int, int]
    bytes: tuple[int, int]
    age_ns: int
    silent_ns: int


def state_of(flow: Flow) -> str:
    """A state in a word."""
    if flow.state & flows.RSTS:
        return "reset"
    if flow.state & flows.FINS:
        return "closed" if flows.closed(flow.state) else "closing"
    if flow.state & flows.CONFIRMED:
        return "established"
    return "answered" if flow.state & flows.ANSWERED else "opening"


def read(policy: Running, now_ns: int) -> list[Line]:
    """Flows that are not over, longest silent last. `now_ns`: by the programs' clock."""
    chain = inventory.chain_of(policy.state.manifest)
    if chain is None:
        return []
    with ExitStack() as opened:
        maps = {
            m.name: opened.enter_context(policy.open_map(map_key(chain.name, m)))
            for m in chain.maps
            if m.role in ("flows", "endpoints")
        }
        names = opened.enter_context(policy.open_map(inventory.NAMES_KEY))
        owned = owners(chain, maps[ADDRESSES], inventory.names(names))
        tables = {name: maps[name] for name in (flows.FLOWS, flows.OPENINGS)}
        alive = [(key, flow) for key, flow in flowtable.read(tables) if flow.lives(now_ns)]
    lines = [_line(key, flow, owned, now_ns) for key, flow in alive]
    return sorted(lines, key=lambda line: line.silent_ns)


def pressure(policy: Running) -> flowtable.Pressure | None:
    """What a policy's tables have been through; None where it knows no flows."""
    chain = inventory.chain_of(policy.state.manifest)
    if chain is None or all(m.name != HANDS for m in chain.maps):
        return None
    with policy.open_map(HANDS) as hands:
        return flowtable.pressure(hands)


def pressure_text(said: flowtable.Pressure) -> str:
    """For people."""
    return (
        f"{said.begun:,} flows begun, {said.confirmed:,} confirmed, {said.removed:,} of those over and "
        f"removed; {said.listed:,} of {flows.MAX_FLOWS:,} places taken"
        + (f"; the table was full {said.no_room:,} times" if said.no_room else "")
    )


def sweep(policy: Running, now_ns: int) -> int:
    """Remove flows that are over; how many."""
    chain = inventory.chain_of(policy.state.manifest)
    removed = 0
    for spec in chain.maps if chain is not None else ():
        if spec.role == "flows":
            with policy.open_map(spec.name) as table:
                removed += flowtable.sweep(table, spec.name == flows.FLOWS, now_ns)
    return removed


@dataclass(frozen=True)
class Owners:
    """Who has an address, by the keys of the map of addresses: name and interface."""

    known: Mapping[bytes, tuple[str, int]]

    def name(self, family: int, address: int) -> str:
        """The name, "" for nobody's."""
        return self.known.get(address_key((family, address)), ("", 0))[0]

    def interface(self, family: int, address: int) -> int:
        """The index of its interface on this host, 0 where it has none."""
        return self.known.get(address_key((family, address)), ("", 0))[1]


def owners(chain: Chain, addresses: Fd, names: Mapping[int, str]) -> Owners:
    """Everyone's addresses, at this moment."""
    size = record(len(chain.selections)).size
    found = {}
    for key, value in bpf.map_items(addresses, ADDRESS_KEY.size, size):
        head = HEAD.unpack(value[: HEAD.size])
        number, ifindex = head["endpoint"], head["ifindex"]
        assert isinstance(number, int) and isinstance(ifindex, int)
        found[key] = names.get(number, ""), ifindex
    return Owners(found)


def ends(key: Key, owners: Owners) -> tuple[str, End, End]:
    """Protocol, subject and peer of a flow."""
    _, family, protocol, subject, subject_port, peer, peer_port = key
    return (
        PROTOCOLS.get(protocol, str(protocol)),
        _end(family, subject, subject_port, owners),
        _end(family, peer, peer_port, owners),
    )


def _line(key: Key, flow: Flow, owners: Owners, now_ns: int) -> Line:
    return Line(
        *ends(key, owners),
        bool(flow.opener),
        state_of(flow),
        (flow.packets[0], flow.packets[1]),
        (flow.bytes[0], flow.bytes[1]),
        now_ns - flow.since_ns,
        max(0, now_ns - flow.seen_ns),
    )


def _end(family: int, value: int, port: int, owners: Owners) -> End:
    raw = value.to_bytes(4 if family == 4 else 16)
    return End(str(ipaddress.ip_address(raw)), port, owners.name(family, value))


def as_json(lines: list[Line]) -> Iterator[dict[str, object]]:
    """For machines."""
    for line in lines:
        yield {
            "protocol": line.protocol,
            "subject": end_json(line.subject),
            "peer": end_json(line.peer),
            "opened_by": "subject" if line.opened else "peer",
            "state": line.state,
            "received": {"packets": line.packets[0], "bytes": line.bytes[0]},
            "sent": {"packets": line.packets[1], "bytes": line.bytes[1]},
            "age_s": line.age_ns / 1e9,
            "silent_s": line.silent_ns / 1e9,
        }


def end_json(end: End) -> dict[str, object]:
    """One end, for machines."""
    return {"address": end.address, "port": end.port, "endpoint": end.name or None}
