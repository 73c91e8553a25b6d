"""What a service is: addresses that clients call, and the backends that answer.

Compiler and runtime meet here: the compiler writes services into the manifest, the runtime fills maps from
them and changes their backends. Plain data; must never know a map.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MAGLEV, RANDOM, ROUND_ROBIN, LOCAL_FIRST = "maglev", "random", "round-robin", "local-first"
PICKS = (MAGLEV, RANDOM, ROUND_ROBIN)  # how an entry of a table is picked: a program knows them by places
# How calls are spread → how an entry is picked: `local-first` has a table of its own.
SPREADS = {MAGLEV: MAGLEV, RANDOM: RANDOM, ROUND_ROBIN: ROUND_ROBIN, LOCAL_FIRST: MAGLEV}
REJECT, PASS = "reject", "pass"
EMPTY = (REJECT, PASS)  # likewise
PROTOCOLS = {"tcp": 6, "udp": 17}
MIN_WEIGHT, MAX_WEIGHT = 1, 1000
MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, RFC 4291 §2.5.5.2


@dataclass(frozen=True)
class Backend:
    """Who answers. `address`: as Python's `ipaddress` writes it; `port`: 0 for the front's target; a backend
    that is `draining` keeps its clients and gets no new ones; one that is `failing` gets no calls at all, and
    loses its clients; `local`: it is on this host."""

    address: str
    port: int = 0
    weight: int = 1
    draining: bool = False
    local: bool = False
    failing: bool = False

    @property
    def taking(self) -> bool:
        """Whether it gets new clients."""
        return not (self.draining or self.failing)

    @property
    def family(self) -> int:
        """4 or 6."""
        return ipaddress.ip_address(self.address).version

    @property
    def raw(self) -> bytes:
        """The address as maps have it."""
        return raw(self.address)

    @property
    def text(self) -> str:
        """As users write it."""
        if not self.port:
            return self.address
        return f"[{self.address}]:{self.port}" if self.family == 6 else f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Front:
    """A port of a service: what clients call, and where backends listen that have no port of their own."""

    protocol: int
    port: int
    target: int


@dataclass(frozen=True)
class Service:
    """`vips`: addresses, as Python's `ipaddress` writes them; `spread` of SPREADS; `affinity_ms`: how long a
    client keeps its backend after it last called, 0 for not at all; `empty` of EMPTY: what becomes of calls
    when nobody can answer; `exempt`: places of cgroups (`state.cgroups`) whose calls are left alone, and
    behind those `selection_place` of selections; `size`: entries of a Maglev table; `selected`: numbers of
    the selections of endpoints that are its backends, where that is not written."""

    name: str
    vips: tuple[str, ...]
    fronts: tuple[Front, ...]
    backends: tuple[Backend, ...]
    spread: str = MAGLEV
    affinity_ms: int = 0
    empty: str = REJECT
    exempt: tuple[int, ...] = ()
    size: int = 0
    selected: tuple[int, ...] = ()


@dataclass(frozen=True)
class Pool:
    """The backends of one service and family: what a client of one of its addresses is spread over."""

    number: int
    service: Service
    place: int  # of the service in its list
    family: int


def selection_place(cgroups: int, selection: int) -> int:
    """The place of endpoints of a selection, behind those of so many `cgroups`."""
    return cgroups + 1 + selection


def pools(services: Sequence[Service]) -> Iterator[Pool]:
    """The pools of a list of services, numbered: a family that no address has has none."""
    number = 0
    for place, service in enumerate(services):
        for family in families(service):
            yield Pool(number, service, place, family)
            number += 1


def families(service: Service) -> tuple[int, ...]:
    """The families of a service's addresses, ascending."""
    return tuple(sorted({ipaddress.ip_address(vip).version for vip in service.vips}))


def raw(address: str) -> bytes:
    """An address in 16 bytes, network order; IPv4 is mapped."""
    parsed = ipaddress.ip_address(address)
    return parsed.packed if parsed.version == 6 else MAPPED + parsed.packed


def address_of(data: bytes) -> str:
    """The address in 16 bytes."""
    if data[: len(MAPPED)] == MAPPED:
        return str(ipaddress.IPv4Address(data[len(MAPPED) :]))
    return str(ipaddress.IPv6Address(data))
