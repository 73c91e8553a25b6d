"""An inventory: which endpoints there are, with their labels and addresses, and the records that stand for
them in maps.

Compiler and runtime meet here: the compiler asks which label sets exist, the runtime fills the maps. Knows
labels and addresses; must never know a file, an interface's index, or a packet. Its text: `inventory_text`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .labels import HERE, HOST, NAME, WORKLOAD, Selection
from .state.endpoints import THIS_HOST, Address, Endpoints, Record

MAX_NUMBER = (1 << 32) - 1
Labels = Mapping[str, str]


@dataclass(frozen=True)
class Port:
    """A named port of an endpoint: protocol by name (tcp, udp, sctp), and number."""

    name: str
    protocol: str
    number: int


@dataclass(frozen=True)
class Entry:
    """One endpoint. `kind`: WORKLOAD or HOST. `interfaces`: where its packets are judged, as DEVICE or
    NETNS/DEVICE; a workload of this host has one, this host itself one or more, any other endpoint none.
    `cgroup`: path below the cgroup2 root, "" where it has none."""

    name: str
    kind: str = WORKLOAD
    namespace: str = ""
    labels: Labels = field(default_factory=dict)
    addresses: tuple[Address, ...] = ()
    interfaces: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    cgroup: str = ""

    @property
    def title(self) -> str:
        """What people call it: unique in an inventory."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True)
class Inventory:
    """All endpoints, and the labels of their namespaces."""

    entries: tuple[Entry, ...] = ()
    namespaces: Mapping[str, Labels] = field(default_factory=dict)

    def namespace(self, entry: Entry) -> dict[str, str]:
        """The labels of an endpoint's namespace, with its name as one of them; HERE of this host, and none
        where it has no namespace."""
        if entry.kind == HOST:
            return dict(HERE) if entry.interfaces else {}
        if not entry.namespace:
            return {}
        return {**self.namespaces.get(entry.namespace, {}), NAME: entry.namespace}

    def identity(self, entry: Entry) -> tuple[object, ...]:
        """What selections look at: the same for endpoints that all of them treat alike."""
        space = self.namespace(entry)
        return entry.kind, tuple(sorted(entry.labels.items())), tuple(sorted(space.items()))


def selected(inventory: Inventory, selections: Sequence[Selection]) -> list[frozenset[int]]:
    """For each entry, the numbers of the selections that take it."""
    known: dict[tuple[object, ...], frozenset[int]] = {}
    found = []
    for entry in inventory.entries:
        identity = inventory.identity(entry)
        if identity not in known:
            space = inventory.namespace(entry)
            known[identity] = frozenset(
                n for n, one in enumerate(selections) if one.takes(entry.kind, entry.labels, space)
            )
        found.append(known[identity])
    return found


def nowhere(_: str) -> int:
    """The index of every interface where none is known."""
    return 0


def records(
    inventory: Inventory,
    selections: Sequence[Selection],
    ifindex: Callable[[str], int] = nowhere,
    version: int = 0,
    is_pair: Callable[[str], bool] = lambda _: False,
) -> Endpoints:
    """What the maps hold. `ifindex`: the index of an interface, by its name as in `Entry.interfaces`; with 0
    it is left out. This host is the one that has interfaces. `is_pair`: of an interface, as in
    `state.endpoints.HEAD`."""
    addresses: dict[Address, Record] = {}
    interfaces: dict[int, Record] = {}
    numbers = numbered(entry.title for entry in inventory.entries)
    for entry, taken in zip(inventory.entries, selected(inventory, selections), strict=True):
        own = [ifindex(name) for name in entry.interfaces]
        index = own[0] if own and entry.kind == WORKLOAD else 0
        pair = index != 0 and is_pair(entry.interfaces[0])
        record = Record(numbers[entry.title], entry.kind, index, taken, pair)
        addresses.update(dict.fromkeys(entry.addresses, record))
        if entry.kind == HOST and own:
            interfaces[THIS_HOST] = record
        elif index:
            interfaces[index] = record
    return Endpoints(addresses, interfaces, version)


def numbered(titles: Iterable[str]) -> dict[str, int]:
    """A number for each endpoint, from 1 on, that hardly ever depends on which others there are, so that
    loading a changed inventory touches what has changed."""
    found: dict[str, int] = {}
    taken: set[int] = set()
    for title in sorted(titles):
        number = zlib.crc32(title.encode()) or 1
        while number in taken:
            number = number % MAX_NUMBER + 1
        taken.add(number)
        found[title] = number
    return found
