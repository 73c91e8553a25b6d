"""The consumer's side of a BPF ring buffer: mmap(2) and the two positions.

Layout (kernel/bpf/ringbuf.c): page 0 holds the consumer's position and is ours to write; the next page holds
the producer's position, and behind it the data pages are mapped twice, so a record never wraps. A record is a
u32 length (bit 31: still being written, bit 30: discarded), a u32, and the payload rounded up to 8 bytes.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator

from .fd import Fd

_BUSY, _DISCARD, _HEADER = 1 << 31, 1 << 30, 8


class Ring:
    """Maps a ring of `size` bytes (a power of two, a multiple of the page size)."""

    def __init__(self, map_: Fd, size: int) -> None:
        self._size = size
        self._consumer = mmap.mmap(
            map_.number, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE
        )
        length = mmap.PAGESIZE + 2 * size
        self._data = mmap.mmap(map_.number, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=mmap.PAGESIZE)
        # aligned 8-byte accesses through a cast view are single loads and stores
        self._consumer_view = memoryview(self._consumer)
        self._data_view = memoryview(self._data)
        self._position = self._consumer_view.cast("Q")
        self._produced = self._data_view[:8].cast("Q")

    def records(self) -> Iterator[bytes]:
        """The payloads that are complete now. Each is given back to the kernel before the next is read.
        Python has no release store: on weakly ordered machines the copy made before it is what keeps a record
        whole, and the interpreter's own locking orders the two; run on x86-64 only."""
        at = self._position[0]
        while at < self._produced[0]:
            start = mmap.PAGESIZE + (at & (self._size - 1))
            (length,) = struct.unpack_from("<I", self._data_view, start)
            if length & _BUSY:
                return
            size = length & ~_DISCARD
            payload = bytes(self._data_view[start + _HEADER : start + _HEADER + size])
            at += (size + _HEADER + 7) & ~7
            self._position[0] = at
            if not length & _DISCARD:
                yield payload

    def close(self) -> None:
        """Unmap."""
        for view in (self._position, self._produced, self._consumer_view, self._data_view):
            view.release()
        self._consumer.close()
        self._data.close()
