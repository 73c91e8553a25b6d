"""`lockgate demo` shows what it promises, as root and as an ordinary user, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lockgate.runtime.mounts import mounts_of

COMMAND = (sys.executable, "-c", "from lockgate.cli import main; main()", "demo")
PATIENCE_S = 120


def leftovers(pid: int) -> list[str]:
    """What a demo process has made on this machine and not removed."""
    name = f"lg-demo-{pid}"
    places = [Path("/run/netns"), *(Path(m) for m in mounts_of("cgroup2"))]
    found = [str(p) for place in places if place.is_dir() for p in place.iterdir() if p.name.startswith(name)]
    return found + [m for m in mounts_of("bpf") if f"lockgate-demo-{pid}-" in m]


def play(*command: str) -> tuple[int, str, int]:
    """Run a demo to its end: exit code, what it printed, process id."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    out, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, process.pid


@pytest.mark.kernel
@pytest.mark.xdist_group("demo")
def test_as_root_everything_is_as_expected() -> None:
    code, out, pid = play(*COMMAND)
    assert code == 0, out
    assert "SIMULATION" not in out, out
    for shown in (
        "lockgate counters edge",
        "BPF_PROG_TEST_RUN",
        "is replaced",
        "sample.pcap",
        "nothing left behind",
    ):
        assert shown in out, out
    assert "BAD" not in out
    assert not leftovers(pid)


def as_ordinary_user() -> tuple[str, ...]:
    """A command that runs another without privileges, in a user namespace of its own if this is root."""
    if os.geteuid() != 0:
        return ()
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare(1) is not installed: it makes an ordinary user of root")
    return (unshare, "--user", "--map-user=1000", "--map-group=1000")


def test_as_an_ordinary_user_it_simulates_and_says_so() -> None:
    code, out, _ = play(*as_ordinary_user(), *COMMAND)
    assert code == 0, out
    assert "SIMULATION, nothing is loaded into the kernel: loading needs root" in out
    assert "BAD" not in out
    for chain in ("edge", "host.ingress", "host.egress", "outbound"):
        assert f"{chain} at " in out


@pytest.mark.kernel
@pytest.mark.xdist_group("demo")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_cleans_up(end: signal.Signals) -> None:
    process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "real traffic" in line:
            break
    time.sleep(0.3)
    process.send_signal(end)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert not leftovers(process.pid)
