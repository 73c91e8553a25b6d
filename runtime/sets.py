"""Dynamic sets of a loaded policy: prefixes in LPM tries, changed while packets are judged.

A set has a trie for each family that the policy asks about (`stdlib_bpf.lpm_key` lays keys out); a
prefix of the other family is refused, as it could never match. Each change is atomic for one prefix; a list
is not one change.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

from lockgate.stdlib_bpf.lpm_key import entry
from lockgate.stdlib_bpf.manifest import Map

from .errors import SetError
from .plan import map_key
from .refusal import explain
from .running import Running
from .sys import bpf
from .sys.fd import Fd

Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse(text: str) -> Prefix:
    """A prefix or address as people write it. SetError for anything else, host bits included."""
    try:
        prefix = ipaddress.ip_network(text)
    except ValueError:
        prefix = _closest(text)
    if isinstance(prefix, ipaddress.IPv6Network) and prefix.network_address.ipv4_mapped is not None:
        raise SetError(
            f"`{text}` is an IPv4-mapped prefix",
            ("such addresses are judged as IPv4",),
            ("write it as an IPv4 prefix",),
        )
    return prefix


def _closest(text: str) -> Prefix:
    try:
        prefix = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise SetError(
            f"`{text}` is no address or prefix", (str(error),), ("for example 192.0.2.0/24 or 2001:db8::1",)
        ) from None
    raise SetError(
        f"`{text}` has bits set below its mask",
        (),
        (f"write {prefix} for the network, {text.partition('/')[0]} for the host",),
    )


def key_of(prefix: Prefix) -> bytes:
    """The LPM trie's key of a prefix."""
    return entry(int(prefix.network_address), prefix.prefixlen, prefix.max_prefixlen)


def prefix_of(key: bytes) -> Prefix:
    """The prefix that a key of 8 or 20 bytes stands for."""
    length = int.from_bytes(key[:4], "little")
    address = int.from_bytes(key[4:])
    if len(key) == 8:
        return ipaddress.IPv4Network((address, length))
    return ipaddress.IPv6Network((address, length))


def names(running: Running) -> list[str]:
    """Names of the policy's dynamic sets, sorted."""
    return sorted({m.set for c in running.state.manifest.chains for m in c.maps if m.set is not None})


def capacity(running: Running, name: str) -> int:
    """How many prefixes of each family a set holds at most."""
    return max(m.max_entries for m in _maps(running, name).values())


def add(running: Running, name: str, prefixes: Iterable[Prefix]) -> int:
    """Add prefixes; those that are there already stay. Returns how many were written. SetError when the set
    is full or has no family of that kind: what was added before stays."""

    def one(map_: Fd, spec: Map, prefix: Prefix) -> bool:
        try:
            bpf.map_update(map_, key_of(prefix), b"\1".ljust(spec.value_size, b"\0"))
        except bpf.BpfError as error:
            if error.errno in (errno.ENOSPC, errno.E2BIG):
                raise SetError(
                    f"set `{name}` is full",
                    (f"it holds {spec.max_entries} prefixes of a family; `{prefix}` was not added",),
                    ("remove some with `lockgate set del`, or raise its `max` in the policy",),
                ) from error
            raise
        return True

    return _each(running, name, prefixes, one)


def delete(running: Running, name: str, prefixes: Iterable[Prefix]) -> int:
    """Remove prefixes; returns how many were there."""
    return _each(running, name, prefixes, lambda map_, _, prefix: bpf.map_delete(map_, key_of(prefix)))


def members(running: Running, name: str) -> list[Prefix]:
    """The set's prefixes, IPv4 first, each family sorted."""
    with _opened(running, name) as opened:
        found = [prefix_of(key) for _, (fd, spec) in sorted(opened.items()) for key in _keys(fd, spec)]
    return sorted(found, key=lambda p: (p.version, int(p.network_address), p.prefixlen))


def flush(running: Running, name: str) -> int:
    """Remove everything; returns how many prefixes there were."""
    removed = 0
    with _opened(running, name) as opened:
        for fd, spec in opened.values():
            for key in list(_keys(fd, spec)):
                removed += bpf.map_delete(fd, key)
    return removed


def replace(running: Running, name: str, prefixes: Iterable[Prefix]) -> tuple[int, int]:
    """Make a set hold exactly `prefixes`: new ones are added first, then old ones removed, so that a prefix
    in both is a member all the time. Returns (added, removed). When both together do not fit, SetError says
    so."""
    wanted = set(prefixes)
    present = set(members(running, name))
    added = add(running, name, sorted(wanted - present, key=str))
    return added, delete(running, name, present - wanted)


def _maps(running: Running, name: str) -> dict[int, Map]:
    """IP version → map of the set; SetError with the nearest name when there is no such set."""
    found = {
        (4 if m.key_size == 8 else 6): m
        for c in running.state.manifest.chains
        for m in c.maps
        if m.set == name
    }
    if not found:
        existing = names(running)
        raise SetError(
            f"policy `{running.name}` has no dynamic set `{name}`",
            (),
            (f"its dynamic sets: {', '.join(existing)}" if existing else "it has no dynamic set at all",),
        )
    return found


@contextmanager
def _opened(running: Running, name: str) -> Iterator[dict[int, tuple[Fd, Map]]]:
    with ExitStack() as stack:
        yield {
            version: (stack.enter_context(running.open_map(map_key("", spec))), spec)
            for version, spec in _maps(running, name).items()
        }


def _each(
    running: Running, name: str, prefixes: Iterable[Prefix], change: Callable[[Fd, Map, Prefix], bool]
) -> int:
    done = 0
    with _opened(running, name) as opened:
        for prefix in prefixes:
            if prefix.version not in opened:
                raise SetError(
                    f"policy `{running.name}` asks set `{name}` for IPv{10 - prefix.version} only",
                    (f"`{prefix}` could never match",),
                )
            try:
                done += change(*opened[prefix.version], prefix)
            except bpf.BpfError as error:
                raise explain(error, f"changing set `{name}`") from error
    return done


def _keys(fd: Fd, spec: Map) -> Iterator[bytes]:
    key = bpf.map_next_key(fd, None, spec.key_size)
    while key is not None:
        yield key
        key = bpf.map_next_key(fd, key, spec.key_size)
