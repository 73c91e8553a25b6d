"""What a lookup structure is: how it is built, what it means, what it costs. Its emission for LLVM is the
function of the same name in `emit.tables`; building needs no LLVM. It needs numpy, which the runtime does
without: a bundle brings the bytes of all tables, and only sets of kernel maps change while a policy runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..sets import IntervalSet


@dataclass(frozen=True)
class Cost:
    """Predicted cost of one lookup and of the table. `latency_ns` on the reference machine of the
    measurements, `instructions` of BPF, `bytes` of memory, `update_ns` of changing one entry: one system call
    for a kernel map, a new policy (`rebuilt_ns`) for a table that is read in place."""

    latency_ns: float
    instructions: int
    bytes: int
    update_ns: float = 0.0


MAP_UPDATE_NS = 1_000.0
REPLACE_NS, BUILD_NS = 10_000_000.0, 1_000.0  # of building and loading a policy, and of an entry of a table


def rebuilt_ns(entries: int) -> float:
    """What it takes to change a table of so many entries that is read in place."""
    return REPLACE_NS + entries * BUILD_NS


@dataclass(frozen=True)
class MapSpec:
    """A BPF map to create: `type` is enum bpf_map_type; sizes in bytes; `flags` of BPF_MAP_CREATE."""

    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0


@dataclass(frozen=True)
class MapImage:
    """Contents of a hash or LPM map: `keys` and `values` are `count` entries each, laid end to end as
    BPF_MAP_UPDATE_BATCH takes them."""

    spec: MapSpec
    count: int
    keys: bytes
    values: bytes


@dataclass(frozen=True)
class DataImage:
    """Contents of tables that the program reads in place: symbol suffix → (bytes, element size in bytes).
    Each becomes a section `.rodata.<table>_<suffix>` of the object. `parameters`: what the emission needs."""

    sections: tuple[tuple[str, bytes, int], ...]
    parameters: tuple[tuple[str, int], ...] = ()

    def parameter(self, name: str) -> int:
        """One of the numbers; KeyError when it is missing."""
        return dict(self.parameters)[name]


class Table(Protocol):
    """A module of this package, seen as a block. Keys are unsigned integers in host order."""

    KIND: str
    WIDTHS: frozenset[int]  # key widths in bits it can hold
    UPDATABLE: bool  # entries can be added and removed while the program runs
    EXACT: bool  # holds single values only, not ranges

    def entries(self, values: IntervalSet, width_bits: int) -> int:
        """How many entries the set takes: `max_entries` of a table that never changes."""
        ...

    def build(self, values: IntervalSet, width_bits: int, max_entries: int) -> MapImage | DataImage:
        """The table's memory. ValueError when `values` do not fit its kind."""
        ...

    def model(self, image: MapImage | DataImage, key: int, width_bits: int) -> bool:
        """Membership read from the built image the way generated code reads it: the reference for `emit`."""
        ...

    def cost(self, values: IntervalSet, width_bits: int, max_entries: int) -> Cost:
        """What a lookup costs, without building."""
        ...
