"""A policy that is loaded, as its pins tell it: no other state is kept anywhere.

Reads; the one writer is `store`, for `swap`. The state is JSON in a frozen one-element array map pinned as
`current/state`: the bundle's manifest, its digest, and what is attached where.
"""

from __future__ import annotations

import errno
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lockgate.stdlib_bpf import manifest as manifests

from . import pins, tries
from .errors import NoPrivileges, NotLoaded, SystemRefused
from .plan import HookPoint, copy_key, trie_key
from .refusal import missing_capabilities
from .sys import attrs, bpf
from .sys.fd import Fd

_VERSION = 3


@dataclass(frozen=True)
class Attachment:
    """One link: `pin` is its name below `links/`; `program` the key of its program, of which it runs copy
    number `copy`; `mode` native or generic at XDP, else empty."""

    pin: str
    point: HookPoint
    program: str
    mode: str
    copy: int = 0

    @property
    def loaded(self) -> str:
        """The name of its program below `progs/`, not yet quoted."""
        return copy_key(self.program, self.copy)


@dataclass(frozen=True)
class State:
    """What `current/state` holds. `generation`: the number of the load, which the word says when it is in
    force."""

    manifest: manifests.Manifest
    digest: str
    attachments: tuple[Attachment, ...]
    generation: int


@dataclass(frozen=True)
class Running:
    """A loaded policy: its directory and its state."""

    directory: Path
    state: State

    @property
    def name(self) -> str:
        """Name of the bundle."""
        return self.state.manifest.name

    def open_map(self, key: str) -> Fd:
        """A descriptor of a map by its key."""
        return open_pin(self.directory / "current" / "maps" / pins.quote(key))

    def open_set(self, key: str) -> tuple[Fd, Fd]:
        """Descriptors of a dynamic set: its slot, and the trie in force."""
        return open_set(self.directory / "current", key)

    def open_link(self, attachment: Attachment) -> Fd | None:
        """A descriptor of a link, or None when somebody has removed its pin."""
        try:
            return bpf.open_pin(str(self.directory / "links" / attachment.pin))
        except bpf.BpfError as error:
            if error.errno == errno.ENOENT:
                return None
            raise


def open_pin(path: Path) -> Fd:
    """A descriptor of a pinned object; NoPrivileges or SystemRefused when there is none to have."""
    try:
        return bpf.open_pin(str(path))
    except bpf.BpfError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            raise NoPrivileges(f"opening {path}", missing_capabilities()) from None
        raise SystemRefused(f"opening {path} failed: {error.name}", (str(error),)) from error


def open_set(directory: Path, key: str) -> tuple[Fd, Fd]:
    """Descriptors of a dynamic set below `current` or `next`: its slot, and the trie in force. By the trie's
    pin and not by its number alone, which only CAP_SYS_ADMIN may open."""
    slot = open_pin(directory / "maps" / pins.quote(key))
    try:
        return slot, open_pin(directory / "maps" / pins.quote(trie_key(key, tries.in_force(slot))))
    except BaseException:
        slot.close()
        raise


def find(bpffs: str | Path, name: str) -> Running:
    """The loaded policy of that name. NotLoaded with the nearest name otherwise."""
    folder = pins.base(bpffs)
    directory = folder / pins.quote(name)
    state = load(directory)
    if state is None:
        raise NotLoaded(name, [running.name for running in everything(bpffs)])
    return Running(directory, state)


def everything(bpffs: str | Path) -> list[Running]:
    """All loaded policies, by name."""
    out = []
    for directory in pins.listing(pins.base(bpffs)):
        state = load(directory)
        if state is not None:
            out.append(Running(directory, state))
    return out


def load(directory: Path) -> State | None:
    """The state pinned below a policy's directory, or None when nothing is loaded there."""
    return read(directory / "current" / "state")


def read(path: Path) -> State | None:
    """A pinned state, or None when there is none."""
    try:
        fd = bpf.open_pin(str(path))
    except bpf.BpfError as error:
        if error.errno == errno.ENOENT:
            return None
        if error.errno in (errno.EPERM, errno.EACCES):
            raise NoPrivileges(f"reading {path}", missing_capabilities()) from None
        raise SystemRefused(f"opening {path} failed: {error.name}", (str(error),)) from error
    with fd:
        raw = bpf.map_lookup(fd, bytes(4), bpf.map_info(fd).value_size)
    try:
        return _from_json((raw or b"").decode())
    except (ValueError, KeyError, TypeError) as error:
        raise SystemRefused(
            f"{path} was not written by this lockgate",
            (str(error),),
            (f"remove it: rm -r {path.parent.parent}",),
        ) from None


def store(state: State, path: Path) -> None:
    """Pin a state. BpfError when the kernel refuses."""
    raw = _to_json(state).encode()
    with bpf.map_create(attrs.MAP_TYPE_ARRAY, 4, len(raw), 1, 0, "lockgate_state") as fd:
        bpf.map_update(fd, bytes(4), raw)
        bpf.map_freeze(fd)
        bpf.pin(fd, str(path))


def _to_json(state: State) -> str:
    return json.dumps(
        {
            "version": _VERSION,
            "digest": state.digest,
            "manifest": manifests.to_raw(state.manifest),
            "generation": state.generation,
            "attachments": [asdict(a) for a in state.attachments],
        }
    )


def _from_json(text: str) -> State:
    raw: dict[str, Any] = json.loads(text)
    if raw["version"] != _VERSION:
        raise ValueError(f"state of version {raw['version']}")
    return State(
        manifests.from_raw(raw["manifest"]),
        raw["digest"],
        tuple(Attachment(**{**a, "point": HookPoint(**a["point"])}) for a in raw["attachments"]),
        raw["generation"],
    )
