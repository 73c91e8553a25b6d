"""Where the live demo plays: two network namespaces joined by a veth pair, a BPF file system and a cgroup,
all named after this process and gone at the end, however it ends.

    lg-demo-PID-out   wan0  ───────  eth0   lg-demo-PID-in
    the outside, several addresses          a server; policies go here

Uses ip(8) and mount(8). Knows no policies.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lockgate.runtime import cgroups, pins, swap

from .policies import CGROUP

INNER, OUTER = f"lg-demo-{os.getpid()}-in", f"lg-demo-{os.getpid()}-out"
SERVER4, SERVER6 = "198.51.100.7", "2001:db8:100::7"
SOMEBODY, OTHER, BASTION, LISTED = "198.51.100.65", "198.51.100.66", "192.0.2.10", "198.18.66.9"
SOMEBODY6 = "2001:db8:100::65"
PATIENCE_S = 20.0


def _run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, check=check, capture_output=True, text=True, timeout=PATIENCE_S)
    return done.stdout


class Actor:
    """A process of `actors` in a namespace."""

    def __init__(self, namespace: str, role: str, *arguments: str, wait: bool = True) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lockgate.demo.actors", namespace, role, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the demo, which ends its actors itself
        )
        if wait and self._process.stdout is not None:
            self._process.stdout.readline()

    def result(self) -> Any:
        """Close its standard input; what it prints at its end."""
        out, _ = self._process.communicate(timeout=PATIENCE_S)
        return json.loads(out) if out else None

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.communicate()


class Stage:
    """Context manager over everything that the demo makes on this machine."""

    def __enter__(self) -> Stage:
        with ExitStack() as stack:
            stack.enter_context(_terminated_as_interrupted())
            folder = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix=f"lockgate-demo-{os.getpid()}-"))
            )
            self.bpffs = folder / "bpf"
            self.bpffs.mkdir()
            _run("mount", "-t", "bpf", "bpf", str(self.bpffs))
            stack.callback(_run, "umount", str(self.bpffs))
            stack.callback(self._down)
            self.cgroup = cgroups.mount() / CGROUP
            self.cgroup.mkdir()
            stack.callback(_remove_cgroup, self.cgroup)
            for name in (INNER, OUTER):
                stack.callback(_run, "ip", "netns", "del", name, check=False)
                _run("ip", "netns", "add", name)
            self._actors: list[Actor] = []
            stack.callback(self._end_actors)
            _wire()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _end_actors(self) -> None:
        for actor in self._actors:
            actor.kill()

    def _down(self) -> None:
        for name in pins.names(pins.base(self.bpffs)):
            swap.down(name, self.bpffs)

    def actor(self, namespace: str, role: str, *arguments: str, wait: bool = True) -> Actor:
        """Start a process; it is ended with the stage at the latest."""
        actor = Actor(namespace, role, *arguments, wait=wait)
        self._actors.append(actor)
        return actor

    def ask(self, namespace: str, calls: list[tuple[str, str, str, int]], cgroup: bool = False) -> list[str]:
        """Make socket calls (kind, source, address, port) in a namespace; what came of each."""
        where = str(self.cgroup) if cgroup else ""
        answers: list[str] = self.actor(namespace, "ask", json.dumps([where, calls]), wait=False).result()
        return answers


def leftovers() -> list[str]:
    """What this process has made and not removed."""
    found = [name for name in (INNER, OUTER) if Path("/run/netns", name).exists()]
    return found + [CGROUP] * (cgroups.mount() / CGROUP).exists()


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does: through the clean-up."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = [(number, signal.signal(number, interrupt)) for number in (signal.SIGTERM, signal.SIGHUP)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _wire() -> None:
    """Join the namespaces and give them their addresses."""
    for name in (INNER, OUTER):
        _run("ip", "-n", name, "link", "set", "lo", "up")
    _run("ip", "-n", INNER, "link", "add", "eth0", "type", "veth", "peer", "wan0", "netns", OUTER)
    outside = (SOMEBODY, OTHER, BASTION, LISTED)
    for name, device, addresses in (
        (INNER, "eth0", (f"{SERVER4}/24", f"{SERVER6}/64")),
        (OUTER, "wan0", (*(f"{a}/24" for a in outside), f"{SOMEBODY6}/64")),
    ):
        for address in addresses:
            nodad = ("nodad",) if ":" in address else ()
            _run("ip", "-n", name, "address", "add", address, "dev", device, *nodad)
        _run("ip", "-n", name, "link", "set", device, "up")
    for network in ("192.0.2.0/24", "198.18.66.0/24"):
        _run("ip", "-n", INNER, "route", "add", network, "dev", "eth0")
    _run("ip", "-n", OUTER, "route", "add", "default", "dev", "wan0")


def _remove_cgroup(directory: Path) -> None:
    for pid in (directory / "cgroup.procs").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    _until(lambda: _removed(directory))


def _removed(directory: Path) -> bool:
    try:
        directory.rmdir()
    except OSError:
        return False
    return True


def _until(done: Callable[[], bool], seconds: float = 2.0) -> None:
    ends = time.monotonic() + seconds
    while not done() and time.monotonic() < ends:
        time.sleep(0.01)
