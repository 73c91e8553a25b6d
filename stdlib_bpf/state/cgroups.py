"""Cgroups that rules ask about: generated code knows them by their place in the chain's list, and the loader
says which cgroup each one is.

Paths below the root of cgroup2 (`/a/b`) are sorted, so that a cgroup stands before those that lie in it.
Places count from 1; 0 is the place of `/`, which is in no list, since everything lies in it. A process is at
the place of the deepest cgroup that it is in. The ids (u64 each) lie in a section of their own, zero in the
object: no cgroup has that id.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

CGROUPS = "cgroups"
ROOT = "/"
ID_BYTES = 8
MAX_DEPTH = 15  # of a cgroup that rules may ask about, below the root
# Levels that programs look at, the kernel's own root first: what is mounted may lie further down, as in a
# container.
LEVELS = 32


def problem(text: str) -> str | None:
    """What is wrong with the path of a cgroup, None when nothing is."""
    parts = text.split("/")
    if not text.startswith("/") or "\0" in text:
        return "a path below the root of cgroup2 begins with `/`"
    if any(part in (".", "..") for part in parts) or "" in parts[1:-1]:
        return "`.`, `..` and `//` are not allowed in it"
    return None


def normal(text: str) -> str:
    """The one way to write a path that has no problem."""
    return text.rstrip("/") or ROOT


def depth(path: str) -> int:
    """How many levels below the root a cgroup lies."""
    return 0 if path == ROOT else path.count("/")


def lineage(path: str) -> Iterator[str]:
    """The cgroups that a process of `path` is in, the root first."""
    yield ROOT
    for level in range(1, depth(path) + 1):
        yield "/".join(path.split("/")[: level + 1])


def place(paths: Sequence[str], path: str) -> int:
    """The place of a process of `path`."""
    around = set(lineage(path))
    return max((number for number, known in enumerate(paths, 1) if known in around), default=0)


def within(paths: Sequence[str], path: str) -> tuple[int, ...]:
    """The places of `path`, which is not the root, and of what lies in it."""
    inner = f"{path}/"
    return tuple(n for n, known in enumerate(paths, 1) if known == path or known.startswith(inner))


def pack(ids: Sequence[int]) -> bytes:
    """The section's bytes."""
    return struct.pack(f"<{len(ids)}Q", *ids)


def unpack(data: bytes) -> tuple[int, ...]:
    """The ids in a section's bytes."""
    return struct.unpack(f"<{len(data) // ID_BYTES}Q", data)
