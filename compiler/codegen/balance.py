"""A balancer to a module: its programs, and the maps that the runtime fills with its services.

Programs are the same for all services, so their number costs no code. Knows `state.balance`'s maps; must
never know what a service says.
"""

from __future__ import annotations

from collections.abc import Mapping

from lockgate import __version__
from lockgate.stdlib_bpf import manifest
from lockgate.stdlib_bpf.balance.services import REJECT, pools, selection_place
from lockgate.stdlib_bpf.emit import generation
from lockgate.stdlib_bpf.emit.balance import Balancer as Emitter
from lockgate.stdlib_bpf.emit.llvm import DebugInfo, Value
from lockgate.stdlib_bpf.hooks import balance as points
from lockgate.stdlib_bpf.hooks.connect import SOCK_ADDR
from lockgate.stdlib_bpf.layout import Struct
from lockgate.stdlib_bpf.state import balance
from lockgate.stdlib_bpf.state.cgroups import CGROUPS, ID_BYTES
from lockgate.stdlib_bpf.state.clock import CLOCK, CLOCK_BYTES
from lockgate.stdlib_bpf.state.generation import PREVIOUS

from ..policy.model import Balancer
from . import functions as write
from .maps import MapDefinitions
from .module import DataSection, Module

ROOM = 4  # times as many backends as are declared have room, and
LEAST_ROOM = 1024  # never less than so many


def lower(balancer: Balancer, sources: Mapping[str, str]) -> Module:
    """Generate the module. `sources`: name → text of the file that declares the services."""
    debug = DebugInfo(dict(sources), f"lockgate {__version__}")
    definitions = MapDefinitions(debug)
    slots = _slots(balancer)
    definitions.counters(len(slots))
    _maps(definitions, balancer)
    data = [DataSection(CLOCK, bytes(CLOCK_BYTES), CLOCK_BYTES)]
    if balancer.cgroups:
        data.append(DataSection(CGROUPS, bytes(ID_BYTES * len(balancer.cgroups)), ID_BYTES))
    data_text = "".join(definitions.data(section) for section in data) + definitions.generation()
    functions, texts = [], []
    for forward, kinds in ((True, points.FORWARD), (False, points.BACK)):
        for kind, pair in kinds.items():
            for point in pair:
                name = f"balance_{point.name}"
                previous = f"{PREVIOUS}_{point.name}"
                definitions.previous(previous)
                argument = write.context_argument(debug, SOCK_ADDR)
                f = write.begin(debug, balancer.span.line, name, [argument], point.section)
                generation.emit(f, Value("ptr", "%ctx"), previous)
                emitter = Emitter(
                    f, SOCK_ADDR, point.variant, len(balancer.cgroups), _exempts_labels(balancer)
                )
                if forward:
                    emitter.forward(connects=kind == "connect")
                else:
                    emitter.back(connected=kind == "getpeername")
                texts.append(f.text())
                functions.append(write.row(name, point))
    license_text = definitions.license()
    return Module(
        chain=balancer.name,
        hook=points.NAME,
        body="".join([*texts, write.TAIL, debug.finish()]),
        map_definitions=definitions.text + license_text,
        data_definitions=data_text,
        functions=tuple(functions),
        maps=tuple(definitions.maps),
        images=(),
        data=tuple(data),
        slots=slots,
        cgroups=balancer.cgroups,
    )


def _exempts_labels(balancer: Balancer) -> bool:
    first = selection_place(len(balancer.cgroups), 0)
    return any(place >= first for service in balancer.services for place in service.exempt)


def _slots(balancer: Balancer) -> tuple[manifest.Slot, ...]:
    """Three counters a service, in the order of `state.balance`."""
    return tuple(
        slot
        for service in balancer.services
        for slot in (
            manifest.Slot("service", service.name, "balance"),
            manifest.Slot("service", f"{service.name}: no backend", service.empty),
            manifest.Slot("service", f"{service.name}: undeclared port", REJECT),
        )
    )


def _maps(definitions: MapDefinitions, balancer: Balancer) -> None:
    """All maps of `state.balance`."""
    debug, services = definitions.debug, balancer.services
    u32, u64 = debug.integer(32), debug.integer(64)
    count = sum(1 for _ in pools(services))
    vips = sum(len(s.vips) for s in services)
    fronts = sum(len(s.vips) * len(s.fronts) for s in services)
    room = max(LEAST_ROOM, ROOM * sum(len(s.backends) for s in services))

    def raw(size: int) -> int:
        return debug.array(debug.integer(8), 8, size)

    def hash_(name: str, key: int, value: Struct, entries: int) -> manifest.Map:
        return manifest.Map(name, "services", balance.BPF_MAP_TYPE_HASH, key, value.size, entries)

    address, front = balance.ADDRESS_BYTES, balance.FRONT.size
    definitions.define(hash_(balance.VIPS, address, balance.VIP, vips), raw(address), raw(balance.VIP.size))
    definitions.define(
        hash_(balance.SERVICES, front, balance.SERVICE, fronts), raw(front), raw(balance.SERVICE.size)
    )
    array, outer = balance.BPF_MAP_TYPE_ARRAY, balance.BPF_MAP_TYPE_ARRAY_OF_MAPS
    definitions.maps_of_maps(
        manifest.Map(balance.TABLES, "tables", outer, 4, 4, count),
        manifest.Map("", "", array, 4, balance.BLOCK_BYTES, 1, balance.BPF_F_INNER_MAP),
        u32,
        raw(balance.BLOCK_BYTES),
    )
    definitions.define(
        manifest.Map(balance.BACKENDS, "services", array, 4, balance.BACKEND.size, room, key="index"),
        u32,
        raw(balance.BACKEND.size),
    )
    definitions.define(manifest.Map(balance.TURNS, "services", array, 4, 8, count, key="index"), u32, u64)
    if _exempts_labels(balancer):
        definitions.define(
            manifest.Map(
                balance.MEMBERS, "services", balance.BPF_MAP_TYPE_HASH, ID_BYTES, 8, balance.MOST_MEMBERS
            ),
            u64,
            u64,
        )
    storage, flags = balance.BPF_MAP_TYPE_SK_STORAGE, balance.BPF_F_NO_PREALLOC
    definitions.define(
        manifest.Map(balance.SOCKETS, "sockets", storage, 4, balance.SOCKET.size, 0, flags),
        debug.integer(32, signed=True),
        raw(balance.SOCKET.size),
    )
    lru, key, kept = balance.BPF_MAP_TYPE_LRU_HASH, balance.CLIENT.size, balance.KEPT.size
    definitions.define(
        manifest.Map(balance.AFFINITY, "clients", lru, key, kept, balance.CLIENTS), raw(key), raw(kept)
    )
