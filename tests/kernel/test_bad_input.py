"""What cannot be loaded says why, with its code, and nothing is changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lockgate.runtime import features, pins, refusal
from lockgate.runtime.errors import FeatureMissing
from lockgate.runtime.sys.bpf import BpfError

from .. import netns
from ..conftest import tool
from . import policies
from .actions import lockgate, up
from .policies import TCP, bundle, chain, rule

pytestmark = pytest.mark.kernel


def _file(tmp_path: Path, target: str, hook: str = "xdp", default: str = "pass") -> Path:
    file = tmp_path / "edge.bundle"
    action = "reject" if hook == "connect" else "drop"
    file.write_bytes(
        bundle("edge", chain("edge", hook, target, default, rule(action, "no-web", proto=TCP, dport=80)))
    )
    return file


def test_a_missing_interface_names_the_nearest(bpffs: Path, pair: netns.Pair, tmp_path: Path) -> None:
    done = lockgate("up", str(_file(tmp_path, f"{pair.inner}/lan9")), "--bpffs", str(bpffs))
    assert done.returncode == 3
    assert "E0903" in done.stderr
    assert f"no interface `lan9` in network namespace `{pair.inner}`" in done.stderr
    assert "did you mean `lan0`?" in done.stderr
    assert "nothing was changed" in done.stderr
    missing = lockgate("up", str(_file(tmp_path, f"{pair.inner}x/lan0")), "--bpffs", str(bpffs))
    assert missing.returncode == 3
    assert f"did you mean `{pair.inner}`?" in missing.stderr
    option = lockgate("up", str(_file(tmp_path, "lan9")), "--netns", pair.inner, "--bpffs", str(bpffs))
    assert f"in network namespace `{pair.inner}`" in option.stderr


def test_netns_option_places_plain_names(bpffs: Path, pair: netns.Pair, tmp_path: Path) -> None:
    done = lockgate("up", str(_file(tmp_path, "lan0")), "--netns", pair.inner, "--bpffs", str(bpffs))
    assert done.returncode == 0, done.stderr
    assert f"xdp of {pair.inner}/lan0" in done.stdout


def test_a_missing_cgroup(bpffs: Path, tmp_path: Path) -> None:
    file = _file(tmp_path, "lg-nobody/here", "connect", "allow")
    done = lockgate("up", str(file), "--bpffs", str(bpffs))
    assert done.returncode == 3
    assert "E0907" in done.stderr


def test_no_bpf_file_system(tmp_path: Path) -> None:
    done = lockgate("up", str(_file(tmp_path, "lo")), "--bpffs", str(tmp_path))
    assert done.returncode == 3
    assert "E0902" in done.stderr
    assert f"mount -t bpf bpf {tmp_path}" in done.stderr


def test_without_capabilities(bpffs: Path, tmp_path: Path) -> None:
    # without any capability another namespace cannot be entered, so this is about an interface of our own
    file = _file(tmp_path, "lo")
    command = [sys.executable, "-c", "from lockgate.cli import main; main()"]
    arguments = ["up", str(file), "--bpffs", str(bpffs)]
    done = subprocess.run(
        [tool("setpriv"), "--bounding-set=-all", "--inh-caps=-all", *command, *arguments],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3, done.stdout
    assert "E0901" in done.stderr
    assert "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON" in done.stderr
    assert "Traceback" not in done.stderr


def test_as_nobody(bpffs: Path, pair: netns.Pair, tmp_path: Path) -> None:
    file = _file(tmp_path, pair.target)
    for directory in (tmp_path, *tmp_path.parents):
        if directory.owner() == "root" and directory != Path("/") and not directory.stat().st_mode & 1:
            directory.chmod(0o755)
    up(file.read_bytes(), bpffs)
    nobody = [tool("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups"]
    command = [sys.executable, "-c", "from lockgate.cli import main; main()"]
    for arguments in (["up", str(file)], ["status"], ["counters"], ["down", "edge"]):
        done = subprocess.run(
            [*nobody, *command, *arguments, "--bpffs", str(bpffs)],
            capture_output=True, text=True, timeout=60, cwd="/",
        )  # fmt: skip
        assert done.returncode == 3, (arguments, done.stdout, done.stderr)
        assert "E0901" in done.stderr, (arguments, done.stderr)


def test_damaged_bundles_change_nothing(bpffs: Path, tmp_path: Path) -> None:
    whole = _file(tmp_path, "lo").read_bytes()
    damaged = tmp_path / "damaged.bundle"
    for data, code in (
        (whole[: len(whole) // 2], "E0905"),
        (whole.replace(b"\x7fELF", b"\x7fELG", 1), "E0904"),
        (b"#!/bin/sh\necho\n", "E0906"),
        (b"", "E0906"),
    ):
        damaged.write_bytes(data)
        done = lockgate("up", str(damaged), "--bpffs", str(bpffs))
        assert (done.returncode, code in done.stderr) == (2, True), (code, done.stderr)
    assert not (bpffs / pins.FOLDER).exists()


def test_a_refused_program_names_the_rule_and_keeps_its_log(
    bpffs: Path, pair: netns.Pair, tmp_path: Path
) -> None:
    file, log = tmp_path / "edge.bundle", tmp_path / "log"
    bad = chain("edge", "xdp", pair.target, "pass", rule("drop", "no-web", proto=TCP, dport=80, count="web"))
    file.write_bytes(policies.refused_by_verifier("edge", bad))
    done = lockgate("up", str(file), "--bpffs", str(bpffs), "--full-log", str(log))
    assert done.returncode == 3
    assert "error[E0801] verifier-refused: the kernel's verifier refused `edge` of `edge`" in done.stderr
    assert "edge.gate:1" in done.stderr
    assert "nothing was changed" in done.stderr
    assert "9999" in log.read_text()
    as_json = lockgate("up", str(file), "--bpffs", str(bpffs), "--output", "json")
    assert '"code": "E0801"' in as_json.stderr


def test_a_feature_this_kernel_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in features.ALL:
        assert features.ALL[name].probe(), f"a kernel ≥ 6.6 has {name}"
    monkeypatch.setattr(features, "present", lambda name: False)
    error = refusal.explain(BpfError(22, "LINK_CREATE", "eth0"), "attaching", "tcx-link")
    assert isinstance(error, FeatureMissing)
    assert "Linux 6.6" in error.message
    assert os.uname().release in error.message


def test_an_interface_taken_by_another_tool(bpffs: Path, pair: netns.Pair, tmp_path: Path) -> None:
    from lockgate.runtime import bundle as bundles

    file = _file(tmp_path, pair.target)
    object_ = tmp_path / "other.o"
    object_.write_bytes(bundles.read(file).members["objects/edge.o"])
    ip = ("ip", "-n", pair.inner, "link", "set", "dev", pair.inner_if)
    netns.run(*ip, "xdp", "obj", str(object_), "sec", "xdp.frags")
    done = lockgate("up", str(file), "--bpffs", str(bpffs))
    assert done.returncode == 3
    assert "E0909" in done.stderr
    assert pair.target in done.stderr
    netns.run(*ip, "xdp", "off")
    up(file.read_bytes(), bpffs)
