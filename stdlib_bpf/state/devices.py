"""Devices that rules send packets to or ask about: generated code knows them by their place in the chain's
list, and the loader says which interface each one is.

The ifindexes (u32 each) lie in a section of their own, zero in the object: the kernel takes zero for no
device. Where frames are redirected at XDP, they are also the values of a map that the kernel itself reads
(DEVMAP), by the same places.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

DEVICES, DEVMAP = "devices", "devmap"
DEVICES_SECTION = f".rodata.{DEVICES}"
IFINDEX_BYTES = 4
BPF_MAP_TYPE_DEVMAP = 14


def is_pattern(name: str) -> bool:
    """Whether a device's name stands for every device that it fits (`fnmatch`): `tap*`, `eth[0-3]`."""
    return any(character in name for character in "*?[")


def place(names: Sequence[str], name: str) -> int:
    """The place of a device in a list, from 1 on; 0 for any other one."""
    return names.index(name) + 1 if name in names else 0


def pack(ifindexes: Sequence[int]) -> bytes:
    """The section's bytes."""
    return struct.pack(f"<{len(ifindexes)}I", *ifindexes)


def unpack(data: bytes) -> tuple[int, ...]:
    """The ifindexes in a section's bytes."""
    return struct.unpack(f"<{len(data) // IFINDEX_BYTES}I", data)
