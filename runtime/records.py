"""Records of endpoints in the kernel (`stdlib_bpf.state.endpoints`): brought to what an inventory says, with
as few changes as that takes.

A record is replaced as a whole, and all records of a map by one system call: whoever kills this process does
not interrupt that (`generic_map_update_batch` looks at no signals). The count of changes is raised behind the
last of them, twice: flows that a program judged by old records while it had the new count already (a CPU may
see the two writes the other way round) are judged again.
"""

from __future__ import annotations

from collections.abc import Mapping

from lockgate.stdlib_bpf.state.endpoints import (
    ADDRESS_KEY,
    ADDRESSES,
    INTERFACES,
    VERSION,
    Endpoints,
    address_key,
    record,
)

from .sys import bpf
from .sys.fd import Fd

VERSION_BYTES, INTERFACE_BYTES = 8, 4
_SLOT = bytes(4)


def fill(maps: Mapping[str, Fd], endpoints: Endpoints, selections: int) -> int:
    """Make the maps (by their names) hold what `endpoints` says, but for its version, which goes on from the
    maps' own. Returns how many entries changed. BpfError with E2BIG when they do not fit."""
    size = record(selections).size
    addresses = {address_key(a): r.pack(selections) for a, r in endpoints.addresses.items()}
    interfaces = {
        i.to_bytes(INTERFACE_BYTES, "little"): r.pack(selections) for i, r in endpoints.interfaces.items()
    }
    changed = _bring(maps[ADDRESSES], ADDRESS_KEY.size, size, addresses)
    changed += _bring(maps[INTERFACES], INTERFACE_BYTES, size, interfaces)
    if changed:
        count(maps[VERSION])
    return changed


def _bring(map_: Fd, key_bytes: int, value_bytes: int, wanted: Mapping[bytes, bytes]) -> int:
    """Write what differs, remove what is not wanted."""
    old = dict(bpf.map_items(map_, key_bytes, value_bytes))
    differs = {key: value for key, value in wanted.items() if old.get(key) != value}
    if differs:
        bpf.map_update_batch(map_, b"".join(differs), b"".join(differs.values()), len(differs))
    gone = [key for key in old if key not in wanted]
    for key in gone:
        bpf.map_delete(map_, key)
    return len(differs) + len(gone)


def count(version: Fd) -> None:
    """Say that records have changed."""
    for wait in (True, False):
        now = int.from_bytes(bpf.map_lookup(version, _SLOT, VERSION_BYTES) or b"", "little")
        bpf.map_update(version, _SLOT, ((now + 1) & (1 << 64) - 1).to_bytes(VERSION_BYTES, "little"))
        if wait:
            bpf.wait_for_programs()
