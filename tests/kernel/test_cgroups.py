"""Rules about the cgroup of who calls: real processes in real cgroups, found by path when a policy loads."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lockgate.runtime.errors import CgroupMissing
from tests.engines import Case, Opened

from .. import netns
from .actions import counts, lockgate, lockgate_json, up

pytestmark = pytest.mark.kernel

CALL = """
import pathlib, socket, sys
for directory in sys.argv[1:]:
    pathlib.Path(directory, "cgroup.procs").write_text("0")
    for kind in (socket.AF_INET, socket.AF_INET6):
        with socket.socket(kind, socket.SOCK_DGRAM) as s:
            try:
                s.connect(("127.0.0.1" if kind == socket.AF_INET else "::1", 53))
                print("ok")
            except PermissionError:
                print("refused")
"""

POLICY = """
policy out at connect for cgroup "/{name}" {{
  default reject
  web:   allow udp if sock.cgroup == "/{name}/shop/web"
  batch: continue if not sock.cgroup in {{ "/{name}/shop", "/{name}/shop/web/a" }}
  shop:  allow ip4 if sock.cgroup == "/{name}/shop"
}}
"""
BELOW = ("shop", "shop/web", "shop/web/a", "shop/web/a/b", "shop/mail", "other")


def compiled(text: str) -> bytes:
    with Opened(Case(text, ())) as opened:
        return opened.session.bundle()


@contextmanager
def tree(*below: str) -> Iterator[tuple[str, Path]]:
    """A cgroup with others in it."""
    with netns.cgroup() as (name, directory):
        made = [directory / path for path in below]
        for path in made:
            path.mkdir()
        try:
            yield name, directory
        finally:
            for path in reversed(made):
                if path.exists():
                    netns.remove_cgroup(path)


def answers(directory: Path, *below: str) -> list[tuple[str, str]]:
    """What becomes of calls over IPv4 and IPv6 from a process in each of these cgroups."""
    said = netns.run(sys.executable, "-c", CALL, *(str(directory / path) for path in below)).stdout.split()
    return list(zip(said[::2], said[1::2], strict=True))


def test_a_process_is_judged_by_its_cgroup(bpffs: Path) -> None:
    with tree(*BELOW) as (name, directory):
        up(compiled(POLICY.format(name=name)), bpffs)
        both, four, none = ("ok", "ok"), ("ok", "refused"), ("refused", "refused")
        places = ("", *BELOW)
        assert answers(directory, *places) == [none, four, both, both, both, four, none]
        counted = counts(bpffs, "policy")
        assert (counted["web"], counted["shop"], counted["default"]) == (6, 2, 6)
        assert counted["batch"] == 4, "only from what is neither in the shop nor below it"
        lockgate("down", "policy", "--bpffs", str(bpffs))


def test_a_missing_cgroup_changes_nothing(bpffs: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "policy.bundle"
    with tree(*BELOW) as (name, directory):
        bundle.write_bytes(compiled(POLICY.format(name=name)))
        assert lockgate("up", str(bundle), "--bpffs", str(bpffs)).returncode == 0
        planned = lockgate("up", str(bundle), "--dry-run").stdout
        assert f"find  cgroups of out: /{name}/shop, /{name}/shop/web, /{name}/shop/web/a" in planned
        bundle.write_bytes(compiled(POLICY.format(name=name).replace("shop/web/a", "shop/wap")))
        done = lockgate("up", str(bundle), "--bpffs", str(bpffs))
        assert done.returncode == 3
        assert "E0907" in done.stderr and f"`/{name}/shop/wap`" in done.stderr
        assert "did you mean" in done.stderr and "still attached" in done.stderr
        assert answers(directory, "shop", "other") == [("ok", "refused"), ("refused", "refused")]
        lockgate("down", "policy", "--bpffs", str(bpffs))
    with pytest.raises(CgroupMissing):
        up(compiled(POLICY.format(name="lg-nobody")), bpffs)


def test_status_tells_of_cgroups_that_are_gone(bpffs: Path) -> None:
    with tree(*BELOW) as (name, directory):
        up(compiled(POLICY.format(name=name)), bpffs)
        shown = lockgate_json("status", "--bpffs", str(bpffs))
        assert isinstance(shown, list) and shown[0]["lost_cgroups"] == []
        for path in ("shop/web/a/b", "shop/web/a"):
            netns.remove_cgroup(directory / path)
        (directory / "shop/web/a").mkdir()  # another one of the same name
        told = lockgate("status", "--bpffs", str(bpffs)).stdout
        gone = f"/{name}/shop/web/a"
        assert f"policy: no process is in `{gone}` any more: the cgroup was removed" in told
        assert answers(directory, "shop/web/a") == [("ok", "ok")], "it is below another that is asked about"
        netns.remove_cgroup(directory / "shop/web/a")
        shown = lockgate_json("status", "--bpffs", str(bpffs))
        assert isinstance(shown, list) and shown[0]["lost_cgroups"] == [gone]
        assert up(compiled(POLICY.format(name=name).replace("web/a", "mail")), bpffs).replaced
        shown = lockgate_json("status", "--bpffs", str(bpffs))
        assert isinstance(shown, list) and shown[0]["lost_cgroups"] == []
        lockgate("down", "policy", "--bpffs", str(bpffs))
