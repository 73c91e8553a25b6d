"""What stands beside the programs of a policy that sends calls to proxies: maps, and programs at three more
hooks.

Knows `state.proxies` and where each program must be; must never know which calls are sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from lockgate.stdlib_bpf import manifest
from lockgate.stdlib_bpf.effects import Proxy
from lockgate.stdlib_bpf.emit import generation
from lockgate.stdlib_bpf.emit.llvm import Function, Value
from lockgate.stdlib_bpf.emit.proxies import Call, Handshake, Option
from lockgate.stdlib_bpf.hooks import AttachPoint
from lockgate.stdlib_bpf.hooks.connect import SOCK_ADDR
from lockgate.stdlib_bpf.hooks.proxies import GETPEERNAME, GETSOCKOPT, SOCK_OPS, SOCKOPS, SOCKOPT
from lockgate.stdlib_bpf.layout import Struct
from lockgate.stdlib_bpf.state import balance, proxies
from lockgate.stdlib_bpf.state.cgroups import lineage
from lockgate.stdlib_bpf.state.generation import PREVIOUS

from ..plan.ir import Plan
from . import functions
from .maps import MapDefinitions

if TYPE_CHECKING:
    from .common import Common

Row = tuple[AttachPoint, Struct, Callable[[Function], None], tuple[str, ...]]


def of_plan(plan: Plan) -> tuple[Proxy, ...]:
    """The proxies that rules send calls to, sorted."""
    return tuple(sorted({rule.effects.via for rule in plan.rules if rule.effects.via is not None}))


def define(definitions: MapDefinitions) -> None:
    """The maps of `state.proxies`."""
    debug = definitions.debug

    def raw(size: int) -> int:
        return debug.array(debug.integer(8), 8, size)

    value, key = proxies.ORIGINAL.size, proxies.CALLER.size
    storage, flags = balance.BPF_MAP_TYPE_SK_STORAGE, balance.BPF_F_NO_PREALLOC
    row = manifest.Map(proxies.PROXIED, "sockets", storage, 4, value, 0, flags)
    definitions.define(row, debug.integer(32, signed=True), raw(value))
    lru = balance.BPF_MAP_TYPE_LRU_HASH
    row = manifest.Map(proxies.CALLERS, "clients", lru, key, value, proxies.MAX_CALLERS)
    definitions.define(row, raw(key), raw(value))


def programs(
    of: Common, definitions: MapDefinitions, targets: Sequence[str]
) -> Iterator[tuple[str, manifest.Function]]:
    """Text and manifest row of each program. `targets`: cgroups of the policy."""
    for point, context, body, places in _rows(of.proxies, targets):
        name = f"proxy_{point.name}"
        previous = f"{PREVIOUS}_{point.name}"
        definitions.previous(previous)
        f = of.begin(name, [functions.context_argument(of.debug, context)], point.section)
        generation.emit(f, Value("ptr", "%ctx"), previous)
        body(f)
        yield f.text(), replace(functions.row(name, point), targets=places)


def _rows(known: Iterable[Proxy], targets: Sequence[str]) -> Iterator[Row]:
    homes = outermost(proxy.cgroup for proxy in known)
    for point in GETPEERNAME:
        yield point, SOCK_ADDR, partial(_peer, point.variant), ()
    yield SOCKOPS, SOCK_OPS, _handshake, outermost((*targets, *homes))
    yield GETSOCKOPT, SOCKOPT, _option, homes


def _peer(variant: str, f: Function) -> None:
    Call(f, variant).peer()


def _handshake(f: Function) -> None:
    Handshake(f).emit()


def _option(f: Function) -> None:
    Option(f).emit()


def outermost(paths: Iterable[str]) -> tuple[str, ...]:
    """Cgroups that lie in no other one of them, sorted."""
    listed = sorted(set(paths))
    return tuple(p for p in listed if not any(above in listed for above in list(lineage(p))[:-1]))
