"""Who the backends of a service are where labels choose them, by an inventory.

Knows inventories and services; must never know a map. A backend is on this host if its endpoint has an
interface or a cgroup here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..inventory import Entry, Inventory, selected
from ..labels import Selection
from . import maglev
from .services import MAGLEV, SPREADS, Backend, Service

ADDRESS = {4: ipaddress.IPv4Address, 6: ipaddress.IPv6Address}


def resolved(
    services: Sequence[Service], selections: Sequence[Selection], inventory: Inventory
) -> tuple[Service, ...]:
    """The services with all backends that they have by an inventory. `selections`: those that the services
    number. A table's size is kept where there is one."""
    taken = selected(inventory, selections)
    local = local_addresses(inventory)
    return tuple(_resolved(service, inventory, taken, local) for service in services)


def local_addresses(inventory: Inventory) -> set[str]:
    """The addresses of endpoints on this host."""
    here = (entry for entry in inventory.entries if entry.interfaces or entry.cgroup)
    return {text for entry in here for text in _addresses(entry)}


def _resolved(
    service: Service, inventory: Inventory, taken: Sequence[frozenset[int]], local: set[str]
) -> Service:
    # Labels or a list say who the backends are, never both; an inventory from before has no say.
    found = {} if service.selected else {(b.address, b.port): b for b in service.backends}
    for entry, numbers in zip(inventory.entries, taken, strict=True):
        if not numbers.isdisjoint(service.selected):
            for address in _addresses(entry):
                found.setdefault((address, 0), Backend(address))
    backends = tuple(replace(b, local=b.address in local) for b in found.values())
    if service.size or SPREADS[service.spread] != MAGLEV:
        return replace(service, backends=backends)
    return replace(service, backends=backends, size=maglev.size([b.weight for b in backends]))


def _addresses(entry: Entry) -> Iterator[str]:
    for family, value in entry.addresses:
        yield str(ADDRESS[family](value))
