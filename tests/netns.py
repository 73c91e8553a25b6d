"""Throw-away network namespaces, veth pairs and cgroups for tests. Names begin with `lg-` and hold the
process id, so parallel test processes never meet; everything vanishes at the end of the `with` block."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_sequence = itertools.count()


def unique(prefix: str = "lg") -> str:
    """A name nobody else uses now, at most 15 characters for small process ids."""
    return f"{prefix}-{os.getpid()}-{next(_sequence)}"


def run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a tool; its output as text."""
    return subprocess.run(command, check=check, capture_output=True, text=True, timeout=60)


def inside(netns: str, *command: str) -> list[str]:
    """The command line that runs `command` in a namespace; /sys stays as it is (`ip netns exec` would hide
    BPF file systems)."""
    return ["nsenter", f"--net=/run/netns/{netns}", *command]


def python(netns: str, code: str, *arguments: str) -> subprocess.Popen[str]:
    """Run Python text in a namespace; the caller waits for it."""
    return subprocess.Popen(
        inside(netns, sys.executable, "-c", code, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@dataclass(frozen=True)
class Pair:
    """Two namespaces joined by a veth pair. `inner` is the protected side: policies go on `inner_if`."""

    inner: str
    outer: str
    inner_if: str = "lan0"
    outer_if: str = "wan0"
    inner4: str = "192.0.2.1"
    outer4: str = "192.0.2.2"
    inner6: str = "2001:db8::1"
    outer6: str = "2001:db8::2"

    @property
    def target(self) -> str:
        """The protected interface as policies name it."""
        return f"{self.inner}/{self.inner_if}"


@contextmanager
def pair() -> Iterator[Pair]:
    """A pair, with addresses, up and without neighbour or duplicate address detection in the way."""
    p = Pair(unique("lg-i"), unique("lg-o"))
    try:
        for netns in (p.inner, p.outer):
            run("ip", "netns", "add", netns)
            run("ip", "-n", netns, "link", "set", "lo", "up")
        run(
            "ip",
            "-n",
            p.inner,
            "link",
            "add",
            p.inner_if,
            "type",
            "veth",
            "peer",
            p.outer_if,
            "netns",
            p.outer,
        )
        for netns, device, four, six in (
            (p.inner, p.inner_if, p.inner4, p.inner6),
            (p.outer, p.outer_if, p.outer4, p.outer6),
        ):
            run("ip", "-n", netns, "address", "add", f"{four}/24", "dev", device)
            run("ip", "-n", netns, "address", "add", f"{six}/64", "dev", device, "nodad")
            run("ip", "-n", netns, "link", "set", device, "up")
        _static_neighbours(p)
        yield p
    finally:
        for netns in (p.inner, p.outer):
            run("ip", "netns", "del", netns, check=False)


def _static_neighbours(p: Pair) -> None:
    sides: Sequence[tuple[str, str, str, str, str, str]] = (
        (p.inner, p.inner_if, p.outer4, p.outer6, p.outer, p.outer_if),
        (p.outer, p.outer_if, p.inner4, p.inner6, p.inner, p.inner_if),
    )
    for netns, device, four, six, other, other_device in sides:
        shown = run("ip", "-n", other, "-br", "link", "show", "dev", other_device).stdout
        mac = shown.split()[2]
        for address in (four, six):
            run(
                "ip",
                "-n",
                netns,
                "neigh",
                "replace",
                address,
                "lladdr",
                mac,
                "dev",
                device,
                "nud",
                "permanent",
            )


@contextmanager
def cgroup() -> Iterator[tuple[str, Path]]:
    """A cgroup below the cgroup2 mount: (its name, its directory). Processes in it are killed at the end."""
    from lockgate.runtime.cgroups import mount

    name = unique()
    directory = mount() / name
    directory.mkdir()
    try:
        yield name, directory
    finally:
        for pid in (directory / "cgroup.procs").read_text().split():
            os.kill(int(pid), 9)
        remove_cgroup(directory)


def remove_cgroup(directory: Path) -> None:
    """The kernel may need a moment to notice that the last process is gone."""
    for _ in range(200):
        try:
            directory.rmdir()
            break
        except OSError:
            subprocess.run(["sleep", "0.01"], check=False)


@contextmanager
def bpffs(directory: Path) -> Iterator[Path]:
    """A private BPF file system."""
    mount = directory / "bpffs"
    mount.mkdir()
    run("mount", "-t", "bpf", "bpf", str(mount))
    try:
        yield mount
    finally:
        run("umount", str(mount))
