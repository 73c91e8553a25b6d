"""The compiler's commands as a pipeline sees them: exit codes, standard output, files written."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lockgate import cli

GOOD = """
network ban = dynamic max 16
policy edge at xdp on "eth0" {
  default pass  fragments first-only
  local: drop from 127.0.0.0/8
  drop udp to port 53
  drop from ban
}
test "local" of edge {
  given ban = 192.0.2.9
  expect drop tcp from 127.0.0.1 by local
  expect drop from 192.0.2.9
  expect pass tcp from 192.0.2.1 by default
}
"""


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("edge.gate")
    path.write_text(GOOD)
    return path


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(a) for a in arguments])
    return int(stop.value.code or 0)


def test_build_writes_a_bundle_and_nothing_else(policy: Path) -> None:
    assert run("build", policy) == 0
    assert sorted(p.name for p in Path().iterdir()) == ["edge.bundle", "edge.gate"]


def test_a_policy_with_errors_writes_nothing(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy.write_text(GOOD.replace("from ban\n", "from bann\n"))
    assert run("build", policy) == 1
    assert "E0202" in capsys.readouterr().err
    assert [p.name for p in Path().iterdir()] == ["edge.gate"]


def test_unreadable_input_and_usage_are_2(policy: Path) -> None:
    assert run("check", "missing.gate") == 2
    assert run("build", policy, "--skip", "no-such-pass") == 2
    assert run("build", policy, "-o", "no/such/folder/x.bundle") == 2
    assert run("nonsense") == 2
    assert run("eval", policy) == 2
    assert run("eval", policy, "not a packet") == 2
    assert run("eval", policy, "udp 10.0.0.1:1 > 10.0.0.2:2", "--set", "nope=1.2.3.4") == 2


def test_messages_as_json(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy.write_text(GOOD.replace("from ban\n", "from bann\n"))
    assert run("check", policy, "--message-format", "json") == 1
    (first,) = [d for d in json.loads(capsys.readouterr().out) if d["code"].startswith("E")]
    assert first["code"] == "E0202"


@pytest.mark.parametrize("engine", ["interp", "match", "plan", "native"])
def test_eval_prints_one_object_a_packet(
    policy: Path, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    packets = [
        "tcp 127.0.0.1:1 > 10.0.0.2:2",
        "udp 10.0.0.1:1 > 10.0.0.2:53",
        "udp 10.0.0.1:1 > 10.0.0.2:54",
        "tcp 192.0.2.9:1 > 10.0.0.2:2",
        "hex 0011",
    ]
    call = ["eval", policy, *packets, "--engine", engine, "--output", "json", "--set", "ban=192.0.2.0/28"]
    assert run(*call) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"packet": 0, "verdict": "drop", "rule": "local", "line": 5},
        {"packet": 1, "verdict": "drop", "rule": "edge.gate:6", "line": 6},
        {"packet": 2, "verdict": "pass", "rule": "default", "line": None},
        {"packet": 3, "verdict": "drop", "rule": "edge.gate:7", "line": 7},
        {"packet": 4, "verdict": "drop", "rule": "malformed", "line": None},
    ]


@pytest.mark.parametrize("writer", ["pcap", "pcapng"])
def test_eval_reads_captures(policy: Path, writer: str, capsys: pytest.CaptureFixture[str]) -> None:
    import dpkt

    from lockgate.compiler import packet

    frames = [
        packet.parse("tcp 127.0.0.1:1 > 10.0.0.2:2").data,
        packet.parse("udp [2001:db8::1]:9 > [2001:db8::2]:53").data,
    ]
    with Path("some.cap").open("wb") as file:
        out = dpkt.pcap.Writer(file) if writer == "pcap" else dpkt.pcapng.Writer(file)
        for frame in frames:
            out.writepkt(frame, ts=1.0)
    assert run("eval", policy, "--pcap", "some.cap", "--output", "json") == 0
    rules = [json.loads(line)["rule"] for line in capsys.readouterr().out.splitlines()]
    assert rules == ["local", "edge.gate:6"]


def test_a_file_that_is_no_capture(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("eval", policy, "--pcap", policy) == 2
    assert "neither pcap nor pcapng" in capsys.readouterr().err


def test_test_runs_the_tests_of_the_policy(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("test", policy, "--engine", "interp", "--engine", "native") == 0
    assert "1 passed, 0 failed" in capsys.readouterr().out
    policy.write_text(GOOD.replace("by local", "by default"))
    assert run("test", policy, "--engine", "interp") == 1
    assert "E0690" in capsys.readouterr().err


def test_stages_are_printed_and_nothing_is_written(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = ["tree", "policy", "match", "match-opt", "plan", "llvm", "asm", "manifest"]
    for stage in stages:
        assert run("build", policy, "--emit", stage) == 0
        assert len(capsys.readouterr().out.splitlines()) > 5, stage
    assert run("build", policy, "--emit-after", "drop_covered") == 0
    assert "after drop_covered" in capsys.readouterr().out
    assert not Path("edge.bundle").exists()


def test_same_bytes_whatever_the_hash_seed_and_however_the_path_is_written(
    policy: Path, tmp_path: Path
) -> None:
    bundles = []
    for seed, folder, name in (("1", "one", "edge.gate"), ("77", "two", str(tmp_path / "two" / "edge.gate"))):
        (tmp_path / folder).mkdir()
        shutil.copy(policy, tmp_path / folder)
        subprocess.run(
            [sys.executable, "-m", "lockgate", "build", name],
            cwd=tmp_path / folder,
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        bundles.append((tmp_path / folder / "edge.bundle").read_bytes())
    assert bundles[0] == bundles[1]


def test_messages_name_the_file_as_the_user_did(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy.write_text(GOOD.replace("from ban\n", "from bann\n"))
    assert run("check", policy.absolute()) == 1
    assert f"--> {policy.absolute()}:7:13" in capsys.readouterr().err


def test_types_and_modes_may_be_called_like_actions(policy: Path) -> None:
    policy.write_text(GOOD.replace("drop udp", "drop icmp type { redirect, 3 }\n  drop udp"))
    assert run("check", policy) == 0


def test_shadowed_rules_come_with_a_packet(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy.write_text(
        GOOD.replace("drop from ban\n", "drop from ban\n  late: pass udp from 10.0.0.1 to port 53\n")
    )
    assert run("check", policy) == 0
    message = capsys.readouterr().err
    assert "W0501" in message
    assert "udp 10.0.0.1:" in message or "udp 10.0.0.1 >" in message
    assert "drop by `edge.gate:6`" in message


MANY = """network scanners = { %s }

policy edge at xdp on "eth0" {
  default pass  fragments first-only
  scan: drop from scanners
}
"""


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A policy with a set of 100 ranges of IPv4 and 40 of IPv6."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "many.gate"
    listed = [f"10.{i}.0.0/20" for i in range(100)] + [f"2001:db8:{i}::/50" for i in range(40)]
    path.write_text(MANY % ", ".join(listed))
    return path


def test_tables_are_chosen_for_what_is_asked(many: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = {}
    for goal in ("latency", "memory", "update"):
        assert run("build", many, "--optimize", goal, "--explain") == 0
        lines = capsys.readouterr().out.splitlines()
        kinds[goal] = [line.split()[1].strip(",") for line in lines if line.startswith("  set")]
        assert all(" ns a lookup, " in line and " KiB" in line for line in lines if line.startswith("  set"))
    assert kinds == {
        "latency": ["range_index", "range_tree"],
        "memory": ["lpm_trie", "range_tree"],
        "update": ["lpm_trie", "lpm_trie"],
    }


def test_smaller_tables_are_chosen_where_memory_is_short(
    many: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("build", many, "--max-memory", "64K", "--explain") == 0
    out = capsys.readouterr().out
    assert "lpm_trie" in out and "range_index" not in out
    assert run("build", many, "--max-memory", "1MiB", "--explain") == 0
    assert "range_index" in capsys.readouterr().out


def test_build_explains_policies_for_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = tmp_path / "p.gate"
    policy.write_text("policy p for [app=db] { ingress { allow tcp from [app=api] to port 1 } }")
    assert run("build", policy, "--explain") == 0
    assert "endpoints: 2 rules" in capsys.readouterr().out


def test_what_does_not_fit_is_refused_with_sizes_and_rules(
    many: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("build", many, "--max-memory", "4K") == 1
    said = capsys.readouterr().err
    assert "error[E0704]" in said
    assert "the tables need" in said and "`--max-memory` allows 4 KiB" in said
    assert "for 100 ranges of `scan`" in said and "for 40 ranges of `scan`" in said
    assert not many.with_suffix(".bundle").exists()
    assert run("build", many, "--max-memory", "4X") == 2
    assert "is not a size; write it as in 512K, 64M or 1G" in capsys.readouterr().err
