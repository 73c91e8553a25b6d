"""Runs generated code natively, as an ordinary user: the worker's half of native simulation.

Packets lie below 4 GiB, because contexts carry their addresses in 32 bits, and end at a page without access,
so that a missing bounds check is a fault and not a lucky read. With `acts` the only user of ctypes.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass

import llvmlite.binding as llvm

from lockgate.stdlib_bpf.state.cgroups import LEVELS
from lockgate.stdlib_bpf.state.clock import CLOCK
from lockgate.stdlib_bpf.state.live import MEMBER

from .acts import Acts, Note
from .shim import DESCRIPTOR

_PROT_NONE, _PROT_READ_WRITE = 0, 3
_MAP_PRIVATE, _MAP_ANONYMOUS, _MAP_FIXED_NOREPLACE = 0x02, 0x20, 0x100000
_FAILED = 2**64 - 1

BPF_NOEXIST = 1

Range = tuple[int, int, int]  # first, last, and until when it holds in ns, 0 for ever
Buffer = ctypes.Array[ctypes.c_char]


@dataclass(frozen=True)
class NativeSpec:
    """What a program needs around it. `sets`: map → (ranges, key offset, key length in bytes); `live`: which
    of them are dynamic, and lie behind a slot; `states`: maps
    that the program writes → (key size, value size, whether it is an array); `data`: symbol → bytes;
    `data_at` and `mark_at`: offsets of `data` and `mark` in the context, None where there are none; `slots`:
    of counters."""

    sets: tuple[tuple[str, tuple[Range, ...], int, int], ...]
    states: tuple[tuple[str, int, int, bool], ...]
    data: tuple[tuple[str, bytes], ...]
    data_at: int | None
    slots: int
    mark_at: int | None = None
    live: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Call:
    """One run: the context's bytes, the packet, how much of it is linear (None: all), what the clock says,
    and who calls: the user, and the ids of the cgroups around the process, the root's first."""

    context: bytes
    packet: bytes = b""
    linear: int | None = None
    clock_ns: int = 0
    uid: int = 0
    cgroups: tuple[int, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What a run gave: the return value, the counter slots it touched in order, the packet if it changed, its
    mark, what was sent where, the errno of a socket call, and its context afterwards."""

    value: int
    slots: tuple[int, ...]
    frame: bytes | None = None
    mark: int = 0
    notes: tuple[Note, ...] = ()
    errno: int = 0
    context: bytes = b""


class NativeProgram:
    """A module compiled for this machine, with its maps."""

    def __init__(self, module: llvm.ModuleRef, spec: NativeSpec) -> None:
        machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(opt=1)
        self._engine = llvm.create_mcjit_compiler(module, machine)
        self._engine.finalize_object()
        self._spec = spec
        self._kept: dict[str, ctypes.Array[ctypes.c_char]] = {}
        self._counters = ctypes.create_string_buffer(16 * spec.slots)
        self._describe("counters", 0, spec.slots, self._counters, 0, 0)
        for name, ranges, offset, length in spec.sets:
            self._set(name, ranges, offset, length)
        self._states = _States(spec.states, self._descriptor)
        for symbol, address in self._states.callbacks:
            self._u64(symbol).value = address
        for name, data in spec.data:
            ctypes.memmove(self._engine.get_global_value_address(name), data, len(data))
        if spec.data_at is not None:
            self._u32("lg.data_at").value = spec.data_at
        self._packets = _LowMemory(1 << 18)
        self._context = ctypes.create_string_buffer(512)
        context = ctypes.addressof(self._context)
        self._acts = Acts(self._packets.put, context, spec.data_at or 0)
        self._act = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint32, *[ctypes.c_uint64] * 5)(self._acts.call)
        self._u64("lg.act").value = ctypes.cast(self._act, ctypes.c_void_p).value or 0
        self._clock = self._u64(CLOCK) if any(name == CLOCK for name, _ in spec.data) else None

    def close(self) -> None:
        """Free the packet memory."""
        self._packets.close()

    def _u32(self, name: str) -> ctypes.c_uint32:
        return ctypes.c_uint32.from_address(self._engine.get_global_value_address(name))

    def _u64(self, name: str) -> ctypes.c_uint64:
        return ctypes.c_uint64.from_address(self._engine.get_global_value_address(name))

    def _descriptor(self, name: str) -> int:
        """Address of the descriptor of a map that the program writes."""
        address: int = self._engine.get_global_value_address(name)
        ctypes.memmove(address, DESCRIPTOR.pack(2, 0, 0, 0, 0), DESCRIPTOR.size)
        return address

    def _describe(
        self, name: str, kind: int, count: int, base: ctypes.Array[ctypes.c_char], offset: int, length: int
    ) -> None:
        self._kept[name] = base
        address = self._engine.get_global_value_address(name)
        descriptor = DESCRIPTOR.pack(kind, count, ctypes.addressof(base), offset, length)
        if name in self._spec.live:  # two descriptors: the slot, and behind it what the slot holds
            descriptor = DESCRIPTOR.pack(3, 1, address + DESCRIPTOR.size, 0, 0) + descriptor
        ctypes.memmove(address, descriptor, len(descriptor))

    def _set(self, name: str, ranges: tuple[Range, ...], offset: int, length: int) -> None:
        data = b"".join(
            low.to_bytes(16, "little") + high.to_bytes(16, "little") + MEMBER.pack(until_ns=until)
            for low, high, until in ranges
        )
        self._describe(name, 1, len(ranges), ctypes.create_string_buffer(data or b"\0"), offset, length)

    def fill(self, name: str, ranges: tuple[Range, ...]) -> None:
        """Replace the contents of a dynamic set: sorted, disjoint, inclusive ranges."""
        for set_name, _, offset, length in self._spec.sets:
            if set_name == name:
                self._set(name, ranges, offset, length)

    def read(self, name: str) -> dict[bytes, bytes]:
        """What a map holds that the program writes."""
        return self._states.read(self._engine.get_global_value_address(name))

    def write(self, name: str, contents: dict[bytes, bytes]) -> None:
        """Make a map that the program knows hold this: key → value."""
        self._states.write(self._engine.get_global_value_address(name), contents)

    def counters(self) -> list[tuple[int, int]]:
        """(packets, bytes) of every slot since loading."""
        return list(struct.iter_unpack("<QQ", self._counters.raw))

    def run(self, function: str, calls: list[Call]) -> list[Answer]:
        """What each call gave, in order."""
        address = self._engine.get_function_address(function)
        program = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(address)
        slot_count, uid, out = self._u32("lg.slot_count"), self._u32("lg.uid"), []
        length = self._u64("lg.length")
        cgroups = (ctypes.c_uint64 * LEVELS).from_address(self._engine.get_global_value_address("lg.cgroups"))
        slots = (ctypes.c_uint32 * 64).from_address(self._engine.get_global_value_address("lg.slots"))
        for call in calls:
            slot_count.value = 0
            if self._clock is not None:
                self._clock.value = call.clock_ns
            ctypes.memset(self._context, 0, len(self._context))
            ctypes.memmove(self._context, call.context, len(call.context))
            self._acts.begin(0, 0)
            if self._spec.data_at is not None:
                length.value, start = len(call.packet), self._packets.put(call.packet)
                self._acts.begin(start, len(call.packet))
                linear = len(call.packet) if call.linear is None else call.linear
                struct.pack_into("<II", self._context, self._spec.data_at, start, start + linear)
            uid.value = call.uid
            cgroups[:] = [*call.cgroups, *[0] * (LEVELS - len(call.cgroups))]
            value = program(self._context)
            out.append(self._answer(call, value, tuple(slots[: min(slot_count.value, 64)])))
        return out

    def _answer(self, call: Call, value: int, slots: tuple[int, ...]) -> Answer:
        acts, mark_at = self._acts, self._spec.mark_at
        mark = 0 if mark_at is None else struct.unpack_from("<I", self._context, mark_at)[0]
        frame = acts.frame
        after = b"" if self._spec.data_at is not None else self._context.raw[: len(call.context)]
        changed = None if frame == call.packet else frame
        return Answer(value, slots, changed, mark, tuple(acts.notes), acts.errno, after)


class _States:
    """Maps that programs write, as dictionaries; called from generated code. Nothing is pushed out of
    them."""

    def __init__(
        self, specs: tuple[tuple[str, int, int, bool], ...], address_of: Callable[[str], int]
    ) -> None:
        self._maps = {
            address_of(name): (key_size, value_size, array, dict[bytes, Buffer]())
            for name, key_size, value_size, array in specs
        }
        pointer = ctypes.c_void_p
        self._lookup = ctypes.CFUNCTYPE(pointer, pointer, pointer)(self._find)
        self._update = ctypes.CFUNCTYPE(ctypes.c_int64, *[pointer] * 3, ctypes.c_uint64)(self._change)
        self._delete = ctypes.CFUNCTYPE(ctypes.c_int64, pointer, pointer)(self._remove)
        self.callbacks = tuple(
            (symbol, ctypes.cast(function, pointer).value or 0)
            for symbol, function in (
                ("lg.lookup", self._lookup),
                ("lg.update", self._update),
                ("lg.delete", self._delete),
            )
        )

    def _find(self, map_: int, key: int) -> int | None:
        key_size, value_size, array, entries = self._maps[map_]
        name = ctypes.string_at(key, key_size)
        if array:
            entries.setdefault(name, ctypes.create_string_buffer(value_size))
        entry = entries.get(name)
        return None if entry is None else ctypes.addressof(entry)

    def _change(self, map_: int, key: int, value: int, flags: int) -> int:
        key_size, value_size, _, entries = self._maps[map_]
        name = ctypes.string_at(key, key_size)
        if name in entries and flags == BPF_NOEXIST:
            return -errno.EEXIST
        entry = entries.setdefault(name, ctypes.create_string_buffer(value_size))
        ctypes.memmove(entry, value, value_size)
        return 0

    def _remove(self, map_: int, key: int) -> int:
        key_size, _, _, entries = self._maps[map_]
        return 0 if entries.pop(ctypes.string_at(key, key_size), None) is not None else -errno.ENOENT

    def read(self, map_: int) -> dict[bytes, bytes]:
        """What a map holds."""
        return {key: entry.raw for key, entry in self._maps[map_][3].items()}

    def write(self, map_: int, contents: dict[bytes, bytes]) -> None:
        """Make a map hold this."""
        _, value_size, _, entries = self._maps[map_]
        entries.clear()
        for key, value in contents.items():
            entries[key] = ctypes.create_string_buffer(value, value_size)


class _LowMemory:
    """Readable memory below 4 GiB that ends at a page without access."""

    def __init__(self, size: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._mmap, self._mprotect, self._munmap = libc.mmap, libc.mprotect, libc.munmap
        self._mmap.restype = ctypes.c_void_p
        self._mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        self._mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self._munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self.size = size
        flags = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_FIXED_NOREPLACE
        for base in range(0x20000000, 0xF0000000, 0x1000000):
            got = self._mmap(base, size + mmap.PAGESIZE, _PROT_READ_WRITE, flags, -1, 0)
            if got == base:
                break
            if got not in (None, _FAILED):
                self._munmap(got, size + mmap.PAGESIZE)
        else:
            raise MemoryError("no free memory below 4 GiB for simulated packets")
        self.base = base
        self._mprotect(base + size, mmap.PAGESIZE, _PROT_NONE)

    def put(self, packet: bytes) -> int:
        """Address of the packet, placed flush against the end."""
        start = self.base + self.size - len(packet)
        ctypes.memmove(start, packet, len(packet))
        return start

    def close(self) -> None:
        """Give the memory back."""
        self._munmap(self.base, self.size + mmap.PAGESIZE)
