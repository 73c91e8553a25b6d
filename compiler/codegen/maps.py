"""Definitions of maps and in-place tables as libbpf wants them: one global in `.maps` whose debug type says
everything, one constant in a section of its own for each table. The manifest's rows come from the same calls.
"""

from __future__ import annotations

from lockgate.stdlib_bpf import manifest
from lockgate.stdlib_bpf.emit import reply
from lockgate.stdlib_bpf.emit.llvm import DebugInfo
from lockgate.stdlib_bpf.state import devices, fragments, generation
from lockgate.stdlib_bpf.state.counters import COUNTER
from lockgate.stdlib_bpf.state.limits import KEY_OF, KEYS, Limit
from lockgate.stdlib_bpf.tables.base import MapImage

from ..plan.ir import Table
from .module import DataSection

BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_LRU_HASH = 2, 6, 9
BPF_MAP_TYPE_LPM_TRIE, BPF_MAP_TYPE_RINGBUF = 11, 27


class MapDefinitions:
    """Collects definitions; `text` is LLVM, `maps` the manifest's rows, `images` initial contents."""

    def __init__(self, debug: DebugInfo) -> None:
        self.debug = debug
        self.text = ""
        self.maps: list[manifest.Map] = []
        self.images: list[tuple[str, MapImage]] = []

    def counters(self, slots: int) -> None:
        """The per-CPU array of counters."""
        debug = self.debug
        u64 = debug.integer(64)
        value = debug.struct(
            COUNTER.name, COUNTER.size, [(m.name, u64, 8, m.offset) for m in COUNTER.members]
        )
        row = manifest.Map(
            "counters", "counters", BPF_MAP_TYPE_PERCPU_ARRAY, 4, COUNTER.size, slots, key="index"
        )
        self._define(row, debug.integer(32), value)

    def limit(self, name: str, limit: Limit) -> None:
        """The buckets of a rule's limit."""
        debug, u64 = self.debug, self.debug.integer(64)
        if limit.per is None:
            row = manifest.Map(name, "state", BPF_MAP_TYPE_ARRAY, 4, 8, 1, key="index")
            self._define(row, debug.integer(32), u64)
            return
        struct = KEY_OF[limit.per]
        key = debug.array(debug.integer(8), 8, struct.size)
        self._define(manifest.Map(name, "state", BPF_MAP_TYPE_LRU_HASH, struct.size, 8, KEYS), key, u64)

    def fragments(self) -> None:
        """The table of datagrams whose first fragment has been seen."""
        debug, row = (
            self.debug,
            manifest.Map(
                fragments.MAP,
                "state",
                BPF_MAP_TYPE_LRU_HASH,
                fragments.KEY.size,
                fragments.VALUE.size,
                fragments.DATAGRAMS,
            ),
        )
        byte = debug.integer(8)
        key, value = (debug.array(byte, 8, size) for size in (row.key_size, row.value_size))
        self._define(row, key, value)

    def events(self, size: int) -> None:
        """The ring buffer of log events."""
        self._define(manifest.Map("events", "events", BPF_MAP_TYPE_RINGBUF, 0, 0, size), None, None)

    def scratch(self) -> None:
        """Room for the answer to a rejected packet."""
        debug = self.debug
        type_, size = BPF_MAP_TYPE_PERCPU_ARRAY, reply.SCRATCH_BYTES
        row = manifest.Map(reply.SCRATCH, "state", type_, 4, size, 1, key="index")
        self._define(row, debug.integer(32), debug.array(debug.integer(8), 8, size))

    def devmap(self, count: int) -> None:
        """The devices that frames are redirected to, by their places."""
        u32 = self.debug.integer(32)
        type_, size = devices.BPF_MAP_TYPE_DEVMAP, devices.IFINDEX_BYTES
        self._define(manifest.Map(devices.DEVMAP, "devices", type_, 4, size, count, key="index"), u32, u32)

    def previous(self, name: str) -> None:
        """The array with a program's predecessor."""
        u32 = self.debug.integer(32)
        type_, slots = generation.BPF_MAP_TYPE_PROG_ARRAY, generation.SLOT + 1
        row = manifest.Map(name, generation.PREVIOUS, type_, 4, 4, slots, key="index")
        self._define(row, u32, u32)

    def table(self, table: Table, image: MapImage) -> None:
        """A hash or LPM map, static or filled while the policy runs."""
        debug, spec = self.debug, image.spec
        byte = debug.integer(8)
        data = debug.array(byte, 8, table.width_bits // 8)
        if spec.type == BPF_MAP_TYPE_LPM_TRIE:
            members = [("prefixlen", debug.integer(32), 4, 0), ("data", data, table.width_bits // 8, 4)]
            key, written = debug.struct("lpm_key", spec.key_size, members), f"lpm{table.width_bits}"
        else:
            key, written = data, "exact"
        row = manifest.Map(
            table.name,
            "set" if table.live else "table",
            spec.type,
            spec.key_size,
            spec.value_size,
            spec.max_entries,
            spec.flags,
            written,
            image_count=image.count,
            set=table.live,
        )
        if image.count:
            self.images.append((table.name, image))
        self._define(row, key, byte)

    def _define(self, row: manifest.Map, key: int | None, value: int | None) -> None:
        debug = self.debug
        numbers = [("type", row.type), ("max_entries", row.max_entries), ("map_flags", row.flags)]
        types = [
            (name, debug.pointer(debug.array(debug.integer(32, signed=True), 32, number)))
            for name, number in numbers
            if number
        ]
        types += [(n, debug.pointer(t)) for n, t in (("key", key), ("value", value)) if t is not None]
        struct = debug.struct("", 8 * len(types), [(n, t, 8, 8 * i) for i, (n, t) in enumerate(types)])
        members = ", ".join(["ptr"] * len(types))
        self.text += (
            f'@{row.name} = global {{ {members} }} zeroinitializer, section ".maps", align 8, '
            f"!dbg !{debug.variable(row.name, struct)}\n"
        )
        self.maps.append(row)

    def data(self, section: DataSection) -> str:
        """An in-place table. Zero here: its bytes are written into the object afterwards (`elf.fill`), so
        that LLVM need not read megabytes of text; `externally_initialized` keeps it from believing in the
        zeros."""
        debug, bits = self.debug, section.element_size * 8
        count = len(section.data) // section.element_size
        type_ = debug.array(debug.integer(bits), bits, count)
        return (
            f"@{section.name} = externally_initialized constant [{count} x i{bits}] zeroinitializer, "
            f'section "{section.section}", align 8, !dbg !{debug.variable(section.name, type_)}\n'
        )

    def generation(self) -> str:
        """The word that says which load is in force, and the number of this load (`state.generation`)."""
        debug = self.debug
        return "".join(
            f'@{name} = {kind} i32 0, section "{section}", align 4, '
            f"!dbg !{debug.variable(name, debug.integer(32))}\n"
            for name, kind, section in (
                (generation.NOW, "global", generation.NOW_SECTION),
                (generation.OWN, "externally_initialized constant", generation.OWN_SECTION),
            )
        )

    def license(self) -> str:
        """What the kernel asks of programs that call its GPL-only helpers."""
        type_ = self.debug.array(self.debug.integer(8), 8, 4)
        return (
            f'@_license = global [4 x i8] c"GPL\\00", section "license", align 1, '
            f"!dbg !{self.debug.variable('_license', type_)}\n"
        )
