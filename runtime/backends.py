"""Backends of a running policy's services, changed while calls come in.

Everything that is known lies in the balancer's maps (`stdlib_bpf.state.balance`). A change writes backends
first, then the pool's new table, which one pointer puts in force; a removal takes the backend out of the
table, then its serial number away, so that neither affinity nor a socket's datagrams find it, and at last
ends the sockets that are connected to it. Whoever changes something needs the lock of `pins.locked`.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace

from lockgate.stdlib_bpf.balance import chosen
from lockgate.stdlib_bpf.balance.services import (
    MAPPED,
    MAX_WEIGHT,
    MIN_WEIGHT,
    Backend,
    Pool,
    Service,
    pools,
)
from lockgate.stdlib_bpf.inventory import Inventory
from lockgate.stdlib_bpf.manifest import Chain
from lockgate.stdlib_bpf.state import balance as layout

from . import balance
from .balance import Member
from .errors import UNCHANGED, BackendError
from .plan import map_key
from .refusal import explain
from .running import Running
from .sys import bpf, netns, sockdiag, socketfd
from .sys.fd import Fd

PASSES, PAUSE_S = 20, 0.01  # looks for sockets of a removed backend: a call under way ends up connected


@dataclass(frozen=True)
class Place:
    """A backend of a service, as listings have it."""

    service: str
    backend: Backend


@dataclass
class _Balancer:
    """A balancer's maps, open, and its backends as they are now: those without a serial number are free."""

    chain: Chain
    maps: dict[str, Fd]
    members: list[Member]
    free: list[int]


def services(running: Running) -> list[str]:
    """Names of the policy's services, in the order of the file."""
    return [s.name for c in running.state.manifest.chains for s in c.services]


def listing(running: Running, service: str | None = None) -> list[Place]:
    """Backends by service, as they are now."""
    out = []
    for chain in running.state.manifest.chains:
        if not chain.services:
            continue
        with _opened(running, chain) as opened:
            for pool in pools(chain.services):
                if service in (None, pool.service.name):
                    out += [
                        Place(pool.service.name, m.backend) for m in opened.members if m.pool == pool.number
                    ]
    return out


def standing(running: Running) -> dict[str, balance.Standing]:
    """By balancer: its backends with their places and serial numbers, for the policy that takes this one's
    place."""
    found: dict[str, balance.Standing] = {}
    for chain in running.state.manifest.chains:
        if chain.services:
            names = {pool.number: pool.service.name for pool in pools(chain.services)}
            with _opened(running, chain) as opened:
                found[chain.name] = {
                    balance.identity(names[m.pool], m.backend): (m.place, m.serial) for m in opened.members
                }
    return found


def parse(text: str) -> Backend:
    """`ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`. BackendError for anything else."""
    address, port = text, ""
    if text.startswith("["):
        address, _, port = text[1:].partition("]:")
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    with suppress(ValueError):
        parsed = ipaddress.ip_address(address)
        if not port and not text.startswith("["):
            return Backend(str(parsed))
        if port.isascii() and port.isdigit() and 1 <= int(port) <= 0xFFFF:
            return Backend(str(parsed), int(port))
    raise BackendError(
        f"`{text}` is no backend", (), ("write `10.0.0.1`, `10.0.0.1:8443` or `[fd00::1]:8443`",)
    )


def add(running: Running, service: str, backend: Backend) -> None:
    """A new backend takes calls from now on. BackendError when it is there already, or has no room."""
    _check_weight(backend.weight)
    with _pool(running, service, backend) as (opened, pool):
        members = _of(opened, pool)
        if _find(members, backend) is not None:
            raise BackendError(f"`{backend.text}` is a backend of `{service}` already", (UNCHANGED,))
        if not opened.free:
            room = f"the policy has room for {len(opened.members)} backends"
            raise BackendError("there is no room for another backend", (room, UNCHANGED), ("load it anew",))
        new = Member(opened.free[0], next(balance.serials()), pool.number, backend)
        balance.write(opened.maps[layout.BACKENDS], [new])
        _put(opened, pool, [*members, new])


def weight(running: Running, service: str, backend: Backend, value: int) -> None:
    """Give a backend another weight."""
    _check_weight(value)
    _change(running, service, backend, lambda b: replace(b, weight=value))


def drain(running: Running, service: str, backend: Backend, draining: bool) -> None:
    """Let a backend keep its clients and get no new ones, or get new ones again."""
    _change(running, service, backend, lambda b: replace(b, draining=draining))


def mark(running: Running, failing: Mapping[Place, bool]) -> None:
    """Say of backends (by service, address and port) whether they fail. Those that are gone are passed
    over."""
    wanted = {(p.service, p.backend.address, p.backend.port): bad for p, bad in failing.items()}
    for chain in running.state.manifest.chains:
        if not any(service.name == p.service for service in chain.services for p in failing):
            continue
        with _opened(running, chain) as opened:
            changed = []
            for pool in pools(chain.services):
                old = _of(opened, pool)
                new = [
                    _marked(m, wanted.get((pool.service.name, m.backend.address, m.backend.port)))
                    for m in old
                ]
                if new != old:
                    changed.append((pool, new))
            try:
                _put_all(opened, changed)
            except bpf.BpfError as error:
                raise explain(error, f"changing the backends of `{running.name}`") from error


def _marked(member: Member, failing: bool | None) -> Member:
    return member if failing is None else replace(member, backend=replace(member.backend, failing=failing))


def _put_all(opened: _Balancer, changed: Sequence[tuple[Pool, list[Member]]]) -> None:
    """Write backends of some pools, and put the tables in force that they have now."""
    balance.write(opened.maps[layout.BACKENDS], [m for _, members in changed for m in members])
    tables = ((pool.number, balance.table(pool, members)) for pool, members in changed)
    balance.put_tables(opened.maps[layout.TABLES], tables)


def remove(running: Running, service: str, backend: Backend) -> int:
    """Remove a backend: nobody is sent to it any more, and sockets that are connected to it end. Returns how
    many."""
    with _pool(running, service, backend) as (opened, pool):
        members = _of(opened, pool)
        gone = _known(members, service, backend)
        _put(opened, pool, [m for m in members if m is not gone])
        return _retire(opened, [gone])


def follow(running: Running, known: Inventory) -> tuple[int, int]:
    """Give services whose backends labels choose those of an inventory; others keep theirs, and all learn
    which of them are here. Returns how many backends came or went, and how many sockets ended. BackendError
    where there is no room; then nothing is changed."""
    moved = ended = 0
    for chain in running.state.manifest.chains:
        if chain.services:
            with _opened(running, chain) as opened:
                try:
                    changes = _follow(opened, chosen.resolved(chain.services, chain.selections, known), known)
                except bpf.BpfError as error:
                    raise explain(error, f"changing the backends of `{running.name}`") from error
                moved, ended = moved + changes[0], ended + changes[1]
    return moved, ended


def _follow(opened: _Balancer, services: Sequence[Service], known: Inventory) -> tuple[int, int]:
    local = chosen.local_addresses(known)
    fresh, free = balance.serials(), iter(opened.free)
    new: list[Member] = []
    gone: list[Member] = []
    changed: list[tuple[Pool, list[Member]]] = []
    for pool in pools(services):
        members = _of(opened, pool)
        wanted = {(b.address, b.port): b for b in pool.service.backends if b.family == pool.family}
        held = {(m.backend.address, m.backend.port): m for m in members}
        staying = [m for key, m in held.items() if key in wanted or not pool.service.selected]
        moving = [replace(m, backend=replace(m.backend, local=m.backend.address in local)) for m in staying]
        coming = wanted.keys() - held.keys() if pool.service.selected else ()
        if len(new) + len(coming) > len(opened.free):
            room = f"the policy has room for {len(opened.members) + len(opened.free)} backends"
            raise BackendError("there is no room for all backends", (room, UNCHANGED), ("load it anew",))
        come = [Member(next(free), next(fresh), pool.number, b) for k, b in wanted.items() if k in coming]
        if come or moving != members:
            changed.append((pool, [*moving, *come]))
        new += come
        gone += [m for m in members if m not in staying]
    _put_all(opened, changed)
    return len(new) + len(gone), _retire(opened, gone) if gone else 0


def _retire(opened: _Balancer, gone: Sequence[Member]) -> int:
    """Make void what is known of backends that no table has any more, and end the sockets that are connected
    to them. Returns how many."""
    balance.write(opened.maps[layout.BACKENDS], [replace(m, serial=0) for m in gone])
    bpf.wait_for_programs()
    return _end_sockets(opened.maps[layout.SOCKETS], gone)


def _change(running: Running, service: str, backend: Backend, change: Callable[[Backend], Backend]) -> None:
    with _pool(running, service, backend) as (opened, pool):
        members = _of(opened, pool)
        old = _known(members, service, backend)
        new = replace(old, backend=change(old.backend))
        balance.write(opened.maps[layout.BACKENDS], [new])
        _put(opened, pool, [new if m is old else m for m in members])


def _put(opened: _Balancer, pool: Pool, members: list[Member]) -> None:
    balance.put_tables(opened.maps[layout.TABLES], [(pool.number, balance.table(pool, members))])


def _end_sockets(storage: Fd, gone: Sequence[Member]) -> int:
    """End sockets that are connected to removed backends, in all namespaces: until a look finds none, but at
    least twice, since a call that was under way may not have been there to be seen."""
    ended = 0
    for number in range(PASSES):
        found = sum(sockdiag.destroy(one) for _ in netns.everywhere() for one in _clients(storage, gone))
        ended += found
        if not found and number:
            break
        time.sleep(PAUSE_S)
    return ended


def _clients(storage: Fd, gone: Sequence[Member]) -> list[sockdiag.Found]:
    """Sockets of this namespace that were sent to one of some backends, and are still connected to it."""
    hosts, members = {m.backend.raw for m in gone}, {(m.place, m.serial) for m in gone}
    there = [one for one in sockdiag.sockets(storage) if _peer(one) in hosts]
    unsaid = [one.inode for one in there if one.protocol == socket.IPPROTO_UDP]
    told = socketfd.stored(unsaid, storage, layout.SOCKET.size)
    return [one for one in there if _was_sent(one, one.value or told.get(one.inode), members)]


def _peer(found: sockdiag.Found) -> bytes:
    return found.address if len(found.address) == layout.ADDRESS_BYTES else MAPPED + found.address


def _was_sent(found: sockdiag.Found, value: bytes | None, gone: Container[tuple[object, object]]) -> bool:
    """Whether a socket went to a service and got one of these backends (place and serial number), and not to
    the backend by itself. `value`: what is known of it."""
    if value is None:
        return False
    raw = value[layout.pair_at(0) :]
    pair = layout.PAIR.unpack(raw)
    port = raw[layout.PAIR.offset("backend_port") :][:2]
    return (pair["place"], pair["serial"]) in gone and port == found.port.to_bytes(2, "big")


# ---- the balancer of a service ----


@contextmanager
def _pool(running: Running, service: str, backend: Backend) -> Iterator[tuple[_Balancer, Pool]]:
    """The pool of a service that a backend belongs to. BackendError when there is none."""
    for chain in running.state.manifest.chains:
        for pool in pools(chain.services):
            if pool.service.name == service and pool.family == backend.family:
                with _opened(running, chain) as opened:
                    try:
                        yield opened, pool
                    except bpf.BpfError as error:
                        raise explain(error, f"changing the backends of `{service}`") from error
                return
    known = services(running)
    if service in known:
        raise BackendError(f"`{service}` has no IPv{backend.family} address", (UNCHANGED,))
    raise BackendError(
        f"policy `{running.name}` has no service `{service}`",
        (),
        (f"its services: {', '.join(known)}" if known else "it has no service at all",),
    )


@contextmanager
def _opened(running: Running, chain: Chain) -> Iterator[_Balancer]:
    with ExitStack() as stack:
        maps = {
            m.name: stack.enter_context(running.open_map(map_key(chain.name, m)))
            for m in chain.maps
            if m.name in (layout.TABLES, layout.BACKENDS, layout.SOCKETS)
        }
        row = next(m for m in chain.maps if m.name == layout.BACKENDS)
        members = balance.read(maps[layout.BACKENDS], row.max_entries)
        taken = {m.place for m in members}
        yield _Balancer(chain, maps, members, [n for n in range(row.max_entries) if n not in taken])


def _of(opened: _Balancer, pool: Pool) -> list[Member]:
    return [m for m in opened.members if m.pool == pool.number]


def _find(members: list[Member], backend: Backend) -> Member | None:
    ends = backend.address, backend.port
    return next((m for m in members if (m.backend.address, m.backend.port) == ends), None)


def _known(members: list[Member], service: str, backend: Backend) -> Member:
    found = _find(members, backend)
    if found is None:
        listed = ", ".join(m.backend.text for m in members)
        raise BackendError(
            f"`{backend.text}` is no backend of `{service}`",
            (UNCHANGED,),
            (f"its backends: {listed or 'none'}",),
        )
    return found


def _check_weight(value: int) -> None:
    if not MIN_WEIGHT <= value <= MAX_WEIGHT:
        raise BackendError(f"weights are {MIN_WEIGHT} to {MAX_WEIGHT}", (UNCHANGED,))
