"""A balancer's maps: made, filled with the manifest's services, and tables put in force.

A pool's table is an array of its own behind a slot of TABLES: one pointer decides which table calls see, so
none ever sees half of one. Knows `stdlib_bpf.state.balance`; who changes backends later is `backends`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from lockgate.stdlib_bpf.balance import choice
from lockgate.stdlib_bpf.balance.services import (
    EMPTY,
    PICKS,
    SPREADS,
    Backend,
    Pool,
    Service,
    address_of,
    pools,
    raw,
)
from lockgate.stdlib_bpf.manifest import Chain, Map
from lockgate.stdlib_bpf.state import balance as layout

from . import btf
from .refusal import explain
from .sys import bpf
from .sys.fd import Fd

SPECIAL = ("tables", "sockets")  # roles of maps that `make_map` makes
FILLED = ("services", "tables")  # and those of maps that `fill` fills
_NS_PER_MS = 1_000_000
_AT_ONCE = 256  # tables made before they are put in their slots: descriptors are few


# Backends by `identity`: place and serial number.
Standing = Mapping[tuple[str, str, int], tuple[int, int]]


@dataclass(frozen=True)
class Member:
    """A backend in its place: `serial` is its own for ever."""

    place: int
    serial: int
    pool: int
    backend: Backend


def serials() -> Iterator[int]:
    """Numbers that no backend of this machine has had since it was started."""
    return itertools.count(time.clock_gettime_ns(time.CLOCK_BOOTTIME))


def make_map(spec: Map) -> Fd:
    """A map that needs more than its row says: TABLES an array to compare others with, SOCKETS types.
    BpfError when the kernel refuses."""
    if spec.role == "tables":
        with _new_table(b"", spec.name) as inner:
            return bpf.map_create(spec.type, 4, 4, spec.max_entries, spec.flags, spec.name, inner)
    data, key, value = btf.bytes_by_int(spec.value_size)
    with bpf.btf_load(data, f"types of {spec.name}") as types:
        return bpf.map_create(
            spec.type, spec.key_size, spec.value_size, 0, spec.flags, spec.name, types=(types, key, value)
        )


def fill(chain: Chain, maps: Mapping[str, Fd], standing: Standing) -> None:
    """Write all services of a balancer into its new maps. `maps`: by name; `standing`: backends that keep
    place and serial number, so that their clients find them again. A LockgateError when the kernel
    refuses."""
    try:
        numbers = {(pool.place, pool.family): pool.number for pool in pools(chain.services)}
        vips = [(raw(vip), _vip(place, s)) for place, s in enumerate(chain.services) for vip in s.vips]
        fronts = [row for place, s in enumerate(chain.services) for row in _fronts(place, s, numbers)]
        for name, rows in ((layout.VIPS, vips), (layout.SERVICES, fronts)):
            keys, values = (b"".join(side) for side in zip(*rows, strict=True))
            bpf.map_update_batch(maps[name], keys, values, len(rows))
        members = _placed(chain, standing)
        write(maps[layout.BACKENDS], members)
        by_pool: dict[int, list[Member]] = {}
        for member in members:
            by_pool.setdefault(member.pool, []).append(member)
        put_tables(
            maps[layout.TABLES],
            ((pool.number, table(pool, by_pool.get(pool.number, []))) for pool in pools(chain.services)),
        )
    except bpf.BpfError as error:
        raise explain(error, f"filling the maps of `{chain.name}`") from error


def _placed(chain: Chain, standing: Standing) -> list[Member]:
    """All backends of a balancer, each with a place."""
    room = next(m.max_entries for m in chain.maps if m.name == layout.BACKENDS)
    wanted = [
        (pool, backend)
        for pool in pools(chain.services)
        for backend in pool.service.backends
        if backend.family == pool.family
    ]
    known = [standing.get(identity(pool.service.name, backend), (room, 0)) for pool, backend in wanted]
    taken = {place for place, _ in known}
    fresh, free = serials(), (n for n in range(room) if n not in taken)
    return [
        Member(place, serial, pool.number, backend)
        if place < room
        else Member(next(free), next(fresh), pool.number, backend)
        for (pool, backend), (place, serial) in zip(wanted, known, strict=True)
    ]


def identity(service: str, backend: Backend) -> tuple[str, str, int]:
    """What makes a backend the same one after its policy was replaced."""
    return service, backend.address, backend.port


def _vip(place: int, service: Service) -> bytes:
    return layout.VIP.pack(exempt=sum(1 << n for n in service.exempt), slot=place * layout.SLOTS)


def _fronts(
    place: int, service: Service, numbers: Mapping[tuple[int, int], int]
) -> Iterator[tuple[bytes, bytes]]:
    """Entries of SERVICES. `numbers`: of pools, by a service's place and family."""
    for vip in service.vips:
        for front in service.fronts:
            key = layout.FRONT.pack(address=raw(vip), port=front.port, protocol=front.protocol)
            yield (
                key,
                layout.SERVICE.pack(
                    affinity_ns=service.affinity_ms * _NS_PER_MS,
                    pool=numbers[place, 4 if "." in vip else 6],
                    slot=place * layout.SLOTS,
                    port=front.target,
                    spread=PICKS.index(SPREADS[service.spread]),
                    empty=EMPTY.index(service.empty),
                ),
            )


def write(backends: Fd, members: Iterable[Member]) -> None:
    """Write backends in their places."""
    listed = list(members)
    if not listed:
        return
    keys = b"".join(m.place.to_bytes(4, "little") for m in listed)
    bpf.map_update_batch(backends, keys, b"".join(_packed(m) for m in listed), len(listed))


def read(backends: Fd, room: int) -> list[Member]:
    """The backends that are there, by place. `room`: how many places there are."""
    data, size = bpf.ArrayReader(backends, room, layout.BACKEND.size).read(), layout.BACKEND.size
    out = []
    for place in range(room):
        raw = data[place * size : (place + 1) * size]
        values = layout.BACKEND.unpack(raw)
        number = {name: value for name, value in values.items() if isinstance(value, int)}
        address = values["address"]
        if number["serial"] and isinstance(address, bytes):
            backend = Backend(
                address_of(address),
                number["port"],
                number["weight"],
                bool(number["draining"]),
                bool(number["local"]),
                bool(number["failing"]),
            )
            out.append(Member(place, number["serial"], number["pool"], backend))
    return out


def _packed(member: Member) -> bytes:
    backend = member.backend
    return layout.BACKEND.pack(
        serial=member.serial,
        address=backend.raw,
        pool=member.pool,
        port=backend.port,
        weight=backend.weight,
        draining=int(backend.draining),
        local=int(backend.local),
        failing=int(backend.failing),
    )


def table(pool: Pool, members: Sequence[Member]) -> bytes:
    """A pool's table as its array has it."""
    chosen = choice.table(pool.service, [m.backend for m in members])
    return layout.blocks([members[place].place for place in chosen])


def put_tables(tables: Fd, found: Iterable[tuple[int, bytes]]) -> None:
    """Put tables in force, pool by pool. Returns when no program uses one from before any more."""
    pending = iter(found)
    while part := list(itertools.islice(pending, _AT_ONCE)):
        with ExitStack() as stack:
            made = [(pool, stack.enter_context(_new_table(data, "table"))) for pool, data in part]
            keys = b"".join(pool.to_bytes(4, "little") for pool, _ in made)
            values = b"".join(fd.number.to_bytes(4, "little") for _, fd in made)
            bpf.map_update_batch(tables, keys, values, len(made))


def _new_table(data: bytes, name: str) -> Fd:
    """An array that holds a table."""
    count = max(1, len(data) // layout.BLOCK_BYTES)
    made = bpf.map_create(
        layout.BPF_MAP_TYPE_ARRAY, 4, layout.BLOCK_BYTES, count, layout.BPF_F_INNER_MAP, name
    )
    try:
        if data:
            bpf.map_update_batch(made, b"".join(n.to_bytes(4, "little") for n in range(count)), data, count)
    except BaseException:
        made.close()
        raise
    return made
