"""An inventory on this machine: which programs judge at which interfaces, and what the maps of a loaded
policy hold for it (docs/endpoints.md).

A workload's interface has the program for what it receives at its egress, and for what it sends at its
ingress; behind those, where the inventory names this host, the host's own, since a workload may speak with
its host. Knows inventories, plans and interfaces; must never know what a program does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from lockgate.stdlib_bpf.balance.chosen import resolved
from lockgate.stdlib_bpf.balance.services import LOCAL_FIRST, selection_place
from lockgate.stdlib_bpf.inventory import Entry, Inventory, numbered, selected
from lockgate.stdlib_bpf.inventory import records as records_of
from lockgate.stdlib_bpf.labels import HOST, WORKLOAD
from lockgate.stdlib_bpf.lpm_key import BPF_F_NO_PREALLOC
from lockgate.stdlib_bpf.manifest import Chain, Manifest
from lockgate.stdlib_bpf.state import balance
from lockgate.stdlib_bpf.state.endpoints import POINTS, Endpoints

from . import cgroups, netlink, records
from .errors import InterfaceMissing, InventoryError
from .plan import AttachPlan, LoadPlan, map_key, point_of
from .plan import numbered as ordered
from .sys import attrs, bpf
from .sys.fd import Fd

HOOK, CONNECT = "endpoint", "connect"
NAMES_KEY = "names"  # a map of the runtime's own: number of an endpoint → its name
NAME_BYTES, MAX_NAMES = 128, 1 << 18


def read(path: Path) -> Inventory:
    """An inventory file. InventoryError says every mistake."""
    from lockgate.stdlib_bpf import inventory_text  # loads a YAML reader, which other commands do without

    try:
        return inventory_text.read(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InventoryError(f"`{path}` cannot be read", (str(error),)) from None
    except inventory_text.BadInventory as bad:
        notes = [f"{f'line {m.line}: ' if m.line else ''}{m.path} {m.reason}".strip() for m in bad.mistakes]
        notes += [f"and {bad.more} more mistakes"] * (bad.more > 0)
        advice = [m.instead for m in bad.mistakes if m.instead][:1]
        raise InventoryError(f"`{path}` is no inventory", notes, advice) from None


def chain_of(manifest: Manifest) -> Chain | None:
    """The rule list that is for endpoints; a bundle has one at most."""
    return next((chain for chain in manifest.chains if chain.hook == HOOK), None)


def placed(plan: LoadPlan, inventory: Inventory | None, netns: str | None = None) -> LoadPlan:
    """The plan with programs at the interfaces of an inventory. `netns`: where those are that do not say it
    themselves. InventoryError where a plan needs one and there is none, or the other way round."""
    asking = [chain for chain in plan.manifest.chains if chain.selections]
    if not asking and inventory is None and chain_of(plan.manifest) is None:
        return plan
    if inventory is None:
        raise InventoryError(
            f"`{plan.name}` has policies for labels, and nothing says who carries them",
            (),
            ("lockgate up FILE --endpoints INVENTORY",),
        )
    if not asks(plan.manifest):
        raise InventoryError(f"`{plan.name}` has no policies for labels", (), ("leave `--endpoints` out",))
    found = ordered([*plan.attachments, *attachments(plan.manifest, inventory, netns)])
    chains = tuple(
        replace(chain, services=resolved(chain.services, chain.selections, inventory))
        for chain in plan.manifest.chains
    )
    manifest = replace(plan.manifest, chains=chains)
    return replace(plan, manifest=manifest, attachments=found, inventory=inventory, netns=netns)


def asks(manifest: Manifest) -> bool:
    """Whether a policy asks who is who: it is for labels, or a service speaks of labels or of who is here."""
    return chain_of(manifest) is not None or any(
        chain.selections or any(service.spread == LOCAL_FIRST for service in chain.services)
        for chain in manifest.chains
    )


def attachments(manifest: Manifest, inventory: Inventory, netns: str | None) -> list[AttachPlan]:
    """Programs at interfaces and cgroups, those of one place in the order in which they run."""
    chain = chain_of(manifest)
    found = [] if chain is None else _at_interfaces(chain, inventory, netns)
    return [
        *found,
        *(one for each in manifest.chains if at_labels(each) for one in _at_cgroups(each, inventory)),
    ]


def at_labels(chain: Chain) -> bool:
    """Whether a rule list judges calls in the cgroups of endpoints that its selections take."""
    return chain.hook == CONNECT and bool(chain.selections)


def _at_cgroups(chain: Chain, inventory: Inventory) -> Iterator[AttachPlan]:
    taken = selected(inventory, chain.selections)
    paths = [entry.cgroup for entry, numbers in zip(inventory.entries, taken, strict=True) if numbers]
    for path in dict.fromkeys(path for path in paths if path):
        for function in chain.functions:
            yield AttachPlan(point_of(function, path, None), f"{chain.name}:{function.name}")


def members(chain: Chain, inventory: Inventory) -> dict[bytes, bytes]:
    """Contents of a balancer's map MEMBERS. CgroupMissing for a cgroup that is not there."""
    found: dict[int, int] = {}
    for entry, numbers in zip(inventory.entries, selected(inventory, chain.selections), strict=True):
        places = (selection_place(len(chain.cgroups), number) for number in numbers)
        bits = sum(1 << place for place in places if place < balance.MASK_BITS)
        if entry.cgroup and bits:
            id_ = cgroups.cgroup_id(entry.cgroup)
            found[id_] = found.get(id_, 0) | bits
    return {struct.pack("<Q", id_): struct.pack("<Q", bits) for id_, bits in found.items()}


def fill_members(chain: Chain, inventory: Inventory, map_: Fd) -> int:
    """Make a balancer's MEMBERS hold what an inventory says; how many entries changed."""
    wanted, held = members(chain, inventory), dict(bpf.map_items(map_, 8, 8))
    changed = {key: value for key, value in wanted.items() if held.get(key) != value}
    for key, value in changed.items():
        bpf.map_update(map_, key, value)
    gone = held.keys() - wanted.keys()
    for key in gone:
        bpf.map_delete(map_, key)
    return len(changed) + len(gone)


def _at_interfaces(chain: Chain, inventory: Inventory, netns: str | None) -> list[AttachPlan]:
    here = [(name, entry) for entry in inventory.entries for name in entry.interfaces]
    host_too = any(entry.kind == HOST for _, entry in here)
    return [one for name, entry in here for one in _each(chain, name, entry, host_too, netns)]


def _each(chain: Chain, name: str, entry: Entry, host_too: bool, netns: str | None) -> Iterator[AttachPlan]:
    kinds = (WORKLOAD, *(HOST,) * host_too) if entry.kind == WORKLOAD else (HOST,)
    for kind in kinds:
        for function in chain.functions:
            # What the host sends leaves a workload's interface where the workload receives it.
            if POINTS[function.point][1] == kind:
                yield AttachPlan(point_of(function, name, netns), f"{chain.name}:{function.name}")


class Known:
    """Interfaces by name, each namespace looked up once."""

    def __init__(self, netns: str | None) -> None:
        self._default = netns
        self._spaces: dict[str | None, dict[str, netlink.Link]] = {}
        self._taken: dict[int, str] = {}

    def __call__(self, name: str) -> int:
        """The index. InterfaceMissing where there is none; InventoryError where two have the same index,
        because they are in different namespaces."""
        index = self._link(name).ifindex
        other = self._taken.setdefault(index, name)
        if other != name:
            raise InventoryError(
                f"`{other}` and `{name}` have the same number in different network namespaces",
                ("programs tell endpoints apart by the number of their interface",),
                ("keep the host's sides of all workloads in one namespace",),
            )
        return index

    def is_pair(self, name: str) -> bool:
        """Whether the interface's other end is in another namespace. InterfaceMissing where there is none."""
        return self._link(name).pair

    def _link(self, name: str) -> netlink.Link:
        space, _, device = name.rpartition("/")
        netns = space or self._default
        if netns not in self._spaces:
            self._spaces[netns] = netlink.links(netns)
        if device not in self._spaces[netns]:
            raise InterfaceMissing(device, netns, self._spaces[netns])
        return self._spaces[netns][device]


def fill(chain: Chain, inventory: Inventory, netns: str | None, maps: Mapping[str, Fd]) -> int:
    """Make the maps of a chain (by their keys) hold what an inventory says; how many entries changed."""
    here = Known(netns)
    endpoints: Endpoints = records_of(inventory, chain.selections, here, is_pair=here.is_pair)
    own = {m.name: maps[map_key(chain.name, m)] for m in chain.maps if m.role == "endpoints"}
    _name(maps[NAMES_KEY], inventory)
    return records.fill(own, endpoints, len(chain.selections))


def make_names() -> Fd:
    """The map of names, empty."""
    return bpf.map_create(attrs.MAP_TYPE_HASH, 4, NAME_BYTES, MAX_NAMES, BPF_F_NO_PREALLOC, "endpoint_names")


def _name(names: Fd, inventory: Inventory) -> None:
    titles = {
        struct.pack("<I", n): title for title, n in numbered(e.title for e in inventory.entries).items()
    }
    held = dict(bpf.map_items(names, 4, NAME_BYTES))
    for key, title in titles.items():
        value = title.encode()[:NAME_BYTES].ljust(NAME_BYTES, b"\0")
        if held.get(key) != value:
            bpf.map_update(names, key, value)
    for key in held.keys() - titles.keys():
        bpf.map_delete(names, key)


def names(map_: Fd) -> dict[int, str]:
    """Names of endpoints by their numbers."""
    return {
        int.from_bytes(key, "little"): value.rstrip(b"\0").decode(errors="replace")
        for key, value in bpf.map_items(map_, 4, NAME_BYTES)
    }
