"""Names in the BPF file system: where a running policy leaves its objects, and how one `up` or `down` at a
time gets at them.

    BPFFS/lockgate/             flock(2)ed while something changes
      NAME/
        links/HOOK              links, each named by hook, target and the target's identity
        current/state           manifest and hooks of the running policy, a frozen array of one element
        current/maps/KEY        counters, sets, events, tables, the word of generations
        current/progs/KEY       programs
        current/previous/KEY    only during a replacement: their predecessors
        next/, past/            only while one policy takes the place of another (`swap`)

The kernel reserves names with a dot, so names are quoted with `%XX`. Knows paths, no hooks and no meaning.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from .errors import NoBpfFilesystem, NoPrivileges
from .mounts import mounts_of
from .refusal import missing_capabilities

DEFAULT_BPFFS = "/sys/fs/bpf"
FOLDER = "lockgate"
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_@:+")


def quote(name: str) -> str:
    """A name as one component of a path on a BPF file system."""
    return "".join(
        c if c in _PLAIN else "".join(f"%{byte:02X}" for byte in c.encode("utf-8", "surrogateescape"))
        for c in name
    )


def base(bpffs: str | Path) -> Path:
    """The folder of all policies. NoBpfFilesystem when `bpffs` lies on something else."""
    path = os.path.realpath(bpffs)
    mounted = mounts_of("bpf")
    covering = [m for m in mounted if path == m or path.startswith(m.rstrip("/") + "/")]
    if not covering:
        raise NoBpfFilesystem(str(bpffs), mounted)
    return Path(path, FOLDER)


def names(folder: Path) -> list[str]:
    """Names of the policies that have a directory, sorted."""
    return [unquote(p.name) for p in listing(folder)]


def listing(directory: Path) -> list[Path]:
    """Entries of a directory, sorted; none when it does not exist. NoPrivileges when it may not be read."""
    try:
        return sorted(directory.iterdir())
    except FileNotFoundError:
        return []
    except PermissionError:
        raise NoPrivileges(f"reading {directory}", missing_capabilities()) from None


@contextmanager
def locked(bpffs: str | Path) -> Iterator[Path]:
    """The folder of all policies, made if need be and kept for the caller alone; an empty one is removed at
    the end. Waits for another lockgate that is changing something."""
    folder = base(bpffs)
    lock = _lock(folder)
    try:
        yield folder
    finally:
        try:
            if not any(folder.iterdir()):
                folder.rmdir()
        finally:
            os.close(lock)


def _lock(folder: Path) -> int:
    while True:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:
            raise NoPrivileges(f"writing to {folder.parent}", missing_capabilities()) from None
        except FileNotFoundError:
            continue  # whoever had the lock has just removed it
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _same(descriptor, folder):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _same(descriptor: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), folder.stat())
    except FileNotFoundError:
        return False


def remove_tree(directory: Path) -> None:
    """Unpin everything below a directory, and remove it."""
    for entry in listing(directory):
        if entry.is_dir():
            remove_tree(entry)
        else:
            entry.unlink(missing_ok=True)
    if directory.exists():
        directory.rmdir()
