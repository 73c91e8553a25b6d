"""What code generation makes of one plan: LLVM text and everything that goes beside it into the bundle.

A plain value. Knows sections, maps and slots; knows neither LLVM's library nor the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.stdlib_bpf import manifest
from lockgate.stdlib_bpf.tables.base import MapImage


@dataclass(frozen=True)
class DataSection:
    """A table that the program reads in place: `name` of the symbol; it lies in section `.rodata.<name>`."""

    name: str
    data: bytes
    element_size: int

    @property
    def section(self) -> str:
        """Name of its ELF section."""
        return f".rodata.{self.name}"


@dataclass(frozen=True)
class Module:
    """One chain, generated. `body`: functions, declarations and metadata, the same for BPF and host; `maps`:
    definitions of the maps as libbpf wants them; `data_definitions`: of the in-place tables and of the
    generation's numbers; `classifier_steps`: about how many the verifier needs for all classifiers."""

    chain: str
    hook: str
    body: str
    map_definitions: str
    data_definitions: str
    functions: tuple[manifest.Function, ...]
    maps: tuple[manifest.Map, ...]
    images: tuple[tuple[str, MapImage], ...]
    data: tuple[DataSection, ...]
    slots: tuple[manifest.Slot, ...]
    devices: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()
    selections: tuple[str, ...] = ()
    classifier_steps: int = 0

    @property
    def map_count(self) -> int:
        """Maps that one of its programs uses: in-place tables are some, and so are both numbers of the
        generation; the map with a predecessor is each program's own."""
        return len(self.maps) - len(self.functions) + 1 + len(self.data) + 2
