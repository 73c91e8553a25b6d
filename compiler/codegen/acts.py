"""What the helpers that act on packets do in native simulation: the kernel's part, as far as a program sees
it.

Frames are changed in the packet memory, and what is sent somewhere is noted. Called from generated code
through `shim`, with the helper's number and its arguments as 64-bit integers. Numbers and semantics:
include/uapi/linux/bpf.h, net/core/filter.c. With `native` the only user of ctypes in the compiler.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from lockgate.stdlib_bpf.hooks.tc import SK_BUFF, TC_ACT_REDIRECT
from lockgate.stdlib_bpf.hooks.xdp import XDP_REDIRECT

CLONE_REDIRECT, REDIRECT, REDIRECT_MAP, REDIRECT_NEIGH, REDIRECT_PEER = 13, 23, 51, 152, 155
ETHERNET_BYTES = 14
Note = tuple[int, int, int]  # helper, ifindex (or place in a map), flags


@dataclass
class Acts:
    """The packet of one run and what was done with it. `place` puts bytes into packet memory and gives their
    address; `context` is the address of the program's context."""

    place: Callable[[bytes], int]
    context: int
    data_at: int
    start: int = 0
    length: int = 0
    notes: list[Note] = field(default_factory=list)
    errno: int = 0

    def begin(self, start: int, length: int) -> None:
        """A new run, of a packet that lies there."""
        self.start, self.length, self.notes, self.errno = start, length, [], 0

    @property
    def frame(self) -> bytes:
        """The packet as it is now."""
        return bytes(ctypes.string_at(self.start, self.length))

    def call(self, helper: int, *a: int) -> int:
        """One call of a helper."""
        match helper:
            case 9:
                return self._store(a[1], ctypes.string_at(a[2], a[3]))
            case 26 | 189:
                return self._load(a[1], a[2], a[3])
            case 28:
                return self._difference(ctypes.string_at(a[2], a[3]), a[4])
            case 38:
                return self._change_tail(a[1])
            case 13:
                self.notes.append((helper, a[1], a[2]))
                return 0
            case 23 | 155:
                self.notes.append((helper, a[0], a[1]))
                return TC_ACT_REDIRECT
            case 152:
                self.notes.append((helper, a[0], a[3]))
                return TC_ACT_REDIRECT
            case 51:
                self.notes.append((helper, a[1], a[2]))
                return XDP_REDIRECT
            case 187:
                self.errno = -ctypes.c_int32(a[0]).value
                return 0
        return -errno.ENOSYS

    def _load(self, offset: int, to: int, length: int) -> int:
        if offset + length > self.length:
            return -errno.EFAULT
        ctypes.memmove(to, self.start + offset, length)
        return 0

    def _store(self, offset: int, data: bytes) -> int:
        if offset + len(data) > self.length:
            return -errno.EFAULT
        ctypes.memmove(self.start + offset, data, len(data))
        return 0

    def _change_tail(self, length: int) -> int:
        if length < ETHERNET_BYTES:
            return -errno.EINVAL
        frame = self.frame[:length].ljust(length, b"\0")
        self.start, self.length = self.place(frame), length
        packet = struct.pack("<II", self.start, self.start + length)
        ctypes.memmove(self.context + self.data_at, packet, len(packet))
        ctypes.memmove(self.context + SK_BUFF.offset("len"), struct.pack("<I", length), 4)
        return 0

    def _difference(self, data: bytes, seed: int) -> int:
        """The one's complement sum of 32-bit words."""
        total: int = seed + sum(struct.unpack(f"<{len(data) // 4}I", data))
        while total >> 32:
            total = (total & 0xFFFFFFFF) + (total >> 32)
        return total
