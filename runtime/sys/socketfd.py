"""What a map of type SK_STORAGE keeps of a socket that another process has: through a descriptor borrowed
from that process, since the map is asked by descriptors (Documentation/bpf/map_sk_storage.rst).

Knows /proc and pidfd_getfd(2); needs the right to trace the process.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from . import bpf
from .fd import Fd

_PIDFD_GETFD = 438  # the same on all architectures (asm-generic/unistd.h and the tables since Linux 5.6)
_syscall = ctypes.CDLL(None, use_errno=True).syscall


def stored(inodes: Collection[int], storage: Fd, value_bytes: int) -> dict[int, bytes]:
    """By inode of the socket: what the map keeps; those of which it keeps nothing, or that nobody has any
    more, are left out."""
    found: dict[int, bytes] = {}
    for pid, number, inode in _holders({f"socket:[{inode}]": inode for inode in inodes}):
        borrowed = None if inode in found else _borrowed(pid, number)
        if borrowed is None:
            continue
        with borrowed:
            value = bpf.map_lookup(storage, borrowed.number.to_bytes(4, "little"), value_bytes)
        if value is not None:
            found[inode] = value
    return found


def _holders(wanted: dict[str, int]) -> Iterator[tuple[int, int, int]]:
    """(process, descriptor, inode) of who has one of these sockets. `wanted`: inodes by the names of
    links."""
    if not wanted:
        return
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            links = list((directory / "fd").iterdir())
        except OSError:
            continue
        for link in links:
            try:
                inode = wanted.get(str(link.readlink()))
            except OSError:
                continue
            if inode is not None:
                yield int(directory.name), int(link.name), inode


def _borrowed(pid: int, number: int) -> Fd | None:
    """A copy of another process's descriptor; None when it is gone."""
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        copy = int(_syscall(_PIDFD_GETFD, process, number, 0))
    finally:
        os.close(process)
    return None if copy < 0 else Fd(copy, f"descriptor {number} of process {pid}")
