"""Finds cgroups of version 2 below the mount that /proc/mounts names: those that policies are for, and those
that rules ask about. Changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from lockgate.stdlib_bpf.state.cgroups import CGROUPS, ID_BYTES, MAX_DEPTH, depth, unpack

from .errors import CgroupMissing, NoPrivileges, SystemRefused
from .mounts import mounts_of
from .plan import LoadPlan
from .running import Running
from .sys import bpf
from .sys.fd import Fd

Numbers = dict[str, tuple[int, ...]]  # chain → ids, in the order of its cgroups


def mount() -> Path:
    """Where the cgroup2 hierarchy is mounted. CgroupMissing when it is not."""
    for path in mounts_of("cgroup2"):
        return Path(path)
    raise CgroupMissing("", None, ())


def path_of(name: str) -> Path:
    """The directory of a cgroup named by its path below the mount (`/` is the root)."""
    root = mount()
    directory = root.joinpath(*(p for p in name.split("/") if p))
    if ".." in name.split("/") or not directory.is_dir():
        raise CgroupMissing(name, str(root), islice(_names(root), 2000))
    return directory


def open_cgroup(name: str) -> Fd:
    """A descriptor of the cgroup's directory, as LINK_CREATE wants it."""
    directory = path_of(name)
    try:
        return Fd(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), f"cgroup {name}")
    except PermissionError:
        raise NoPrivileges(f"opening cgroup `{name}`", ()) from None


def cgroup_id(name: str) -> int:
    """The kernel's number of a cgroup: the inode of its directory."""
    return path_of(name).stat().st_ino


def numbers(plan: LoadPlan) -> Numbers:
    """The id of every cgroup that rules ask about. CgroupMissing for one that is not there; SystemRefused for
    one that lies too deep."""
    return {chain.chain: tuple(_asked(path) for path in chain.paths) for chain in plan.cgroups}


def _asked(path: str) -> int:
    if depth(path) > MAX_DEPTH:
        raise SystemRefused(
            f"rules ask about cgroup `{path}`, which lies too deep",
            (f"programs know cgroups of {MAX_DEPTH} levels below the root",),
            ("ask about a cgroup above it",),
        )
    return cgroup_id(path)


def lost(policy: Running) -> list[str]:
    """Cgroups that a running policy asks about and that are not there any more, or are others of the same
    name: each was found when the policy was loaded."""
    out = set()
    for chain in policy.state.manifest.chains:
        if not chain.cgroups:
            continue
        with policy.open_map(f"{chain.name}:{CGROUPS}") as map_:
            known = unpack(bpf.map_lookup(map_, bytes(4), ID_BYTES * len(chain.cgroups)) or b"")
        out |= {path for path, id_ in zip(chain.cgroups, known, strict=True) if not _is(path, id_)}
    return sorted(out)


def _is(path: str, id_: int) -> bool:
    try:
        return cgroup_id(path) == id_
    except CgroupMissing:
        return False


def _names(root: Path) -> Iterator[str]:
    for directory, children, _ in os.walk(root):
        for child in children:
            yield str(Path(directory, child).relative_to(root))
