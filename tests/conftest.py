"""Fixtures for all tests. Kernel tests are marked `kernel`; they are skipped only where nobody may load BPF
programs, and the skip says why."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import netns
from tests.filetest import pytest_addoption, pytest_collect_file  # noqa: F401 - hooks: `.ft` files, --bless
from tests.properties.coverage import pytest_terminal_summary  # noqa: F401 - hook: what the law exercised


def _why_no_kernel() -> str | None:
    if os.geteuid() != 0:
        return "needs root: loading BPF programs, network namespaces, cgroups"
    from lockgate.runtime.sys import attrs, bpf

    try:
        bpf.map_create(attrs.MAP_TYPE_ARRAY, 4, 4, 1).close()
    except bpf.BpfError as error:
        return f"this machine does not let root use bpf(2): {error}"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip kernel tests where they cannot run, all for one stated reason."""
    marked = [item for item in items if item.get_closest_marker("kernel")]
    reason = _why_no_kernel() if marked else None
    if reason:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_sessionfinish() -> None:
    """End the compiler's worker process that bundles of kernel tests are made with."""
    import sys

    policies = sys.modules.get("tests.kernel.policies")
    if policies is not None:
        policies.stop_worker()
    engines = sys.modules.get("tests.engines")
    if engines is not None:
        engines.stop_worker()


def tool(name: str) -> str:
    """Path of a stock tool; the test is skipped, saying which tool it wants, where there is none."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed: it is the independent loader this test compares with")
    return found


def open_descriptors() -> dict[int, str]:
    """Descriptor → what it is, of this process."""
    out = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            out[int(entry.name)] = str(entry.readlink())
        except OSError:
            continue
    return out


@pytest.fixture
def no_leaked_descriptors() -> Iterator[None]:
    """Fail when the test leaves descriptors of BPF objects, namespaces or directories open."""

    def owned() -> dict[int, str]:
        kinds = ("bpf", "net:[", "lg-", "/bpffs")
        return {n: what for n, what in open_descriptors().items() if any(k in what for k in kinds)}

    before = owned()
    yield
    leaked = {n: what for n, what in owned().items() if before.get(n) != what}
    assert not leaked, f"descriptors left open: {leaked}"


def _of_iproute2(path: Path, mount: Path) -> bool:
    """Whether a path is one of the folders that tc(8) and ip(8) make for themselves in the first BPF file
    system that /proc/mounts names: a test in another process may have run them."""
    return path.relative_to(mount).parts[0] in ("globals", "ip", "tc", "xdp")


@pytest.fixture
def bpffs(tmp_path: Path, no_leaked_descriptors: None) -> Iterator[Path]:
    """A private BPF file system, empty before and, which is checked, after the test took its policies
    down."""
    with netns.bpffs(tmp_path) as mount:
        yield mount
        from lockgate.runtime import pins, swap

        for name in pins.names(mount / pins.FOLDER):
            swap.down(name, mount)
        left = [
            str(p) for p in mount.rglob("*") if not p.name.endswith(".debug") and not _of_iproute2(p, mount)
        ]
        assert not left, f"pins left behind: {left}"


@pytest.fixture
def pair() -> Iterator[netns.Pair]:
    """Two namespaces joined by a veth pair."""
    with netns.pair() as p:
        yield p
