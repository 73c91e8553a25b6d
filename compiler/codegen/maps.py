"""Definitions of maps and in-place tables as libbpf wants them: one global in `.maps` whose debug type says
everything, one constant in a section of its own for each table. The manifest's rows come from the same calls.
"""

from __future__ import annotations

from lockgate.stdlib_bpf import manifest
from lockgate.stdlib_bpf.emit import reply
from lockgate.stdlib_bpf.emit.endpoints import scratch
from lockgate.stdlib_bpf.emit.llvm import DebugInfo
from lockgate.stdlib_bpf.lpm_key import BPF_F_NO_PREALLOC, BPF_MAP_TYPE_LPM_TRIE
from lockgate.stdlib_bpf.state import devices, endpoints, expiry, flows, fragments, generation, live
from lockgate.stdlib_bpf.state.counters import COUNTER
from lockgate.stdlib_bpf.state.limits import BUCKET_BYTES, BUCKETS, KEY_OF, KEYS
from lockgate.stdlib_bpf.tables.base import MapImage

from ..plan.ir import Table
from .module import DataSection

BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY = 1, 2
BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_LRU_HASH = 6, 9
BPF_MAP_TYPE_RINGBUF = 27


class MapDefinitions:
    """Collects definitions; `text` is LLVM, `symbols` what it defines, `maps` the manifest's rows, `images`
    initial contents."""

    def __init__(self, debug: DebugInfo) -> None:
        self.debug = debug
        self.text = ""
        self.symbols: list[str] = []
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
        self.define(row, debug.integer(32), value)

    def buckets(self, count: int) -> None:
        """The buckets of limits that have one each."""
        debug = self.debug
        row = manifest.Map(BUCKETS, "state", BPF_MAP_TYPE_ARRAY, 4, BUCKET_BYTES, count, key="index")
        self.define(row, debug.integer(32), debug.array(debug.integer(64), 64, BUCKET_BYTES // 8))

    def limit(self, name: str, per: str) -> None:
        """The buckets of a limit that has one for each key."""
        debug, struct = self.debug, KEY_OF[per]
        key = debug.array(debug.integer(8), 8, struct.size)
        row = manifest.Map(name, "state", BPF_MAP_TYPE_LRU_HASH, struct.size, 8, KEYS)
        self.define(row, key, debug.integer(64))

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
        self.define(row, key, value)

    def endpoints(self, selections: int) -> None:
        """Who has which address and interface, how often that has changed, and room for what a program knows
        of the packet at hand."""
        debug, size = self.debug, endpoints.record(selections).size
        byte, u32 = debug.integer(8), debug.integer(32)
        for name, key, room in (
            (endpoints.ADDRESSES, endpoints.ADDRESS_KEY.size, endpoints.MAX_ADDRESSES),
            (endpoints.INTERFACES, 4, endpoints.MAX_INTERFACES),
        ):
            row = manifest.Map(name, "endpoints", BPF_MAP_TYPE_HASH, key, size, room, BPF_F_NO_PREALLOC)
            self.define(row, debug.array(byte, 8, key), debug.array(byte, 8, size))
        version = manifest.Map(endpoints.VERSION, "endpoints", BPF_MAP_TYPE_ARRAY, 4, 8, 1, key="index")
        self.define(version, u32, debug.integer(64))
        size = scratch(selections).size
        row = manifest.Map(endpoints.SCRATCH, "state", BPF_MAP_TYPE_PERCPU_ARRAY, 4, size, 1, key="index")
        self.define(row, u32, debug.array(byte, 8, size))

    def flows(self) -> None:
        """Flows of which only the beginning has been seen, those that both ends have confirmed, and in which
        order they are looked after."""
        byte = self.debug.integer(8)
        key, value = (self.debug.array(byte, 8, s.size) for s in (flows.KEY, flows.FLOW))
        for name, type_, room, flags in (
            (flows.OPENINGS, BPF_MAP_TYPE_LRU_HASH, flows.MAX_OPENINGS, 0),
            (flows.FLOWS, BPF_MAP_TYPE_HASH, flows.MAX_FLOWS, BPF_F_NO_PREALLOC),
        ):
            row = manifest.Map(name, "flows", type_, flows.KEY.size, flows.FLOW.size, room, flags)
            self.define(row, key, value)
        ticket, size = self.debug.integer(64), expiry.TICKET_BYTES
        kind, room = BPF_MAP_TYPE_HASH, expiry.MAX_TICKETS
        row = manifest.Map(expiry.RING, "expiry", kind, size, flows.KEY.size, room, BPF_F_NO_PREALLOC)
        self.define(row, ticket, key)
        kind, size = BPF_MAP_TYPE_ARRAY, expiry.HAND.size
        row = manifest.Map(expiry.HANDS, "expiry", kind, 4, size, 1, key="index")
        self.define(row, self.debug.integer(32), self.debug.array(ticket, 64, size // 8))

    def events(self, size: int) -> None:
        """The ring buffer of log events."""
        self.define(manifest.Map("events", "events", BPF_MAP_TYPE_RINGBUF, 0, 0, size), None, None)

    def scratch(self) -> None:
        """Room for the answer to a rejected packet."""
        debug = self.debug
        type_, size = BPF_MAP_TYPE_PERCPU_ARRAY, reply.SCRATCH_BYTES
        row = manifest.Map(reply.SCRATCH, "state", type_, 4, size, 1, key="index")
        self.define(row, debug.integer(32), debug.array(debug.integer(8), 8, size))

    def devmap(self, count: int) -> None:
        """The devices that frames are redirected to, by their places."""
        u32 = self.debug.integer(32)
        type_, size = devices.BPF_MAP_TYPE_DEVMAP, devices.IFINDEX_BYTES
        self.define(manifest.Map(devices.DEVMAP, "devices", type_, 4, size, count, key="index"), u32, u32)

    def previous(self, name: str) -> None:
        """The array with a program's predecessor."""
        u32 = self.debug.integer(32)
        type_, slots = generation.BPF_MAP_TYPE_PROG_ARRAY, generation.SLOT + 1
        row = manifest.Map(name, generation.PREVIOUS, type_, 4, 4, slots, key="index")
        self.define(row, u32, u32)

    def table(self, table: Table, image: MapImage) -> None:
        """A hash or LPM map that never changes."""
        spec, byte = image.spec, self.debug.integer(8)
        if spec.type == BPF_MAP_TYPE_LPM_TRIE:
            key, written = self._lpm_key(table.width_bits), f"lpm{table.width_bits}"
        else:
            key, written = self.debug.array(byte, 8, table.width_bits // 8), "exact"
        row = manifest.Map(
            table.name,
            "table",
            spec.type,
            spec.key_size,
            spec.value_size,
            spec.max_entries,
            spec.flags,
            written,
            image_count=image.count,
        )
        if image.count:
            self.images.append((table.name, image))
        self.define(row, key, byte)

    def live(self, table: Table) -> None:
        """A dynamic set: the array with its trie, which `row` describes, and a trie for stock loaders to put
        there."""
        debug, width = self.debug, table.width_bits
        row = manifest.Map(
            table.name,
            "set",
            BPF_MAP_TYPE_LPM_TRIE,
            4 + width // 8,
            live.MEMBER.size,
            table.max_entries,
            BPF_F_NO_PREALLOC,
            f"lpm{width}",
            set=table.live,
        )
        u64 = debug.integer(64)
        value = debug.struct(
            live.MEMBER.name, live.MEMBER.size, [(m.name, u64, 8, m.offset) for m in live.MEMBER.members]
        )
        type_, size = live.BPF_MAP_TYPE_ARRAY_OF_MAPS, live.SLOT_BYTES
        slot = manifest.Map(row.name, "set", type_, size, size, live.SLOT + 1)
        self._outer(slot, f"{row.name}_trie", self._members(row, self._lpm_key(width), value))
        self.maps.append(row)

    def maps_of_maps(self, row: manifest.Map, inner: manifest.Map, key: int, value: int) -> None:
        """An array of maps. `inner`: what its elements are like; `key` and `value`: types of theirs."""
        self._outer(row, f"{row.name}_inner", self._members(inner, key, value))
        self.maps.append(row)

    def _outer(self, row: manifest.Map, name: str, inner: list[tuple[str, int]]) -> None:
        """An array of maps, and a map to begin with. `inner`: members of that one's definition."""
        debug = self.debug
        self._global(name, inner, "")
        values = debug.array(debug.pointer(self._struct(inner)), 64, 0)
        members = [*self._members(row, debug.integer(32), None), ("values", values)]
        self._global(row.name, members, f"[ptr @{name}]")

    def _lpm_key(self, width_bits: int) -> int:
        """struct bpf_lpm_trie_key with its data."""
        debug, size = self.debug, width_bits // 8
        data = debug.array(debug.integer(8), 8, size)
        return debug.struct(
            "lpm_key", 4 + size, [("prefixlen", debug.integer(32), 4, 0), ("data", data, size, 4)]
        )

    def define(self, row: manifest.Map, key: int | None, value: int | None) -> None:
        """A map whose manifest row says everything but the types of keys and values."""
        self._global(row.name, self._members(row, key, value), "")
        self.maps.append(row)

    def _members(self, row: manifest.Map, key: int | None, value: int | None) -> list[tuple[str, int]]:
        """Members of a definition and their types: numbers are lengths of arrays that are pointed at."""
        debug = self.debug
        numbers = [("type", row.type), ("max_entries", row.max_entries), ("map_flags", row.flags)]
        types = [
            (name, debug.pointer(debug.array(debug.integer(32, signed=True), 32, number)))
            for name, number in numbers
            if number
        ]
        return types + [(n, debug.pointer(t)) for n, t in (("key", key), ("value", value)) if t is not None]

    def _struct(self, members: list[tuple[str, int]]) -> int:
        """The type of a definition. `values`, the last member of an array of maps, has no size."""
        sizes = [0 if name == "values" else 8 for name, _ in members]
        placed = [(n, t, size, 8 * i) for i, ((n, t), size) in enumerate(zip(members, sizes, strict=True))]
        return self.debug.struct("", sum(sizes), placed)

    def _global(self, name: str, members: list[tuple[str, int]], values: str) -> None:
        """A definition. `values`: initial value of its last member, "" when that is a pointer like others."""
        parts = [("ptr", "null") for _ in members]
        if values:
            parts[-1] = ("[1 x ptr]", values)
        types = ", ".join(type_ for type_, _ in parts)
        initial = ", ".join(f"{type_} {value}" for type_, value in parts)
        self.text += (
            f'@{name} = global {{ {types} }} {{ {initial} }}, section ".maps", align 8, '
            f"!dbg !{self.debug.variable(name, self._struct(members))}\n"
        )
        self.symbols.append(name)

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
