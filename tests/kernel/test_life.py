"""A loaded policy outlives the command, shows itself, and goes without a trace."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lockgate.runtime import pins

from .. import netns
from .actions import lockgate, lockgate_json, udp_arrivals
from .policies import TCP, UDP, Live, bundle, chain, rule

pytestmark = pytest.mark.kernel


@pytest.fixture
def loaded(bpffs: Path, pair: netns.Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A policy with a dynamic set and a log, loaded by a command that has ended."""
    monkeypatch.setenv("LOCKGATE_BPFFS", str(bpffs))
    file = tmp_path / "edge.bundle"
    file.write_bytes(
        bundle(
            "edge",
            chain(
                "edge", "xdp", pair.target, "pass",
                rule("drop", "banned", src=Live("bans", 4)),
                rule("drop", "logged", proto=UDP, dport=514, sample=1, count="syslog"),
            ),
        )
    )  # fmt: skip
    done = lockgate("up", str(file))
    assert done.returncode == 0, done.stderr
    assert "xdp of " in done.stdout
    return file


def test_the_policy_outlives_the_process(loaded: Path, pair: netns.Pair) -> None:
    assert udp_arrivals(pair.inner, pair.outer, pair.inner4, 514) == 0
    assert udp_arrivals(pair.inner, pair.outer, pair.inner4, 515) == 3
    rows = lockgate_json("counters", "edge")
    assert isinstance(rows, list)
    found = {row["label"]: row for row in rows}
    assert found["logged"]["packets"] == 3
    assert found["syslog"]["packets"] == 3
    assert found["logged"]["verdict"] == "drop"
    assert found["logged"]["line"] == 2


def test_status_says_what_is_attached(loaded: Path, pair: netns.Pair) -> None:
    (policy,) = lockgate_json("status")  # type: ignore[misc]
    assert policy["name"] == "edge"  # type: ignore[index]
    (attachment,) = policy["attachments"]  # type: ignore[index]
    assert (attachment["hook"], attachment["target"], attachment["attached"]) == ("xdp", pair.target, True)
    netns.run("ip", "-n", pair.inner, "link", "del", pair.inner_if)
    assert "gone" in lockgate("status").stdout


def test_down_leaves_nothing(loaded: Path, bpffs: Path, pair: netns.Pair) -> None:
    done = lockgate("down", "edge")
    assert done.returncode == 0, done.stderr
    assert not (bpffs / pins.FOLDER).exists()
    assert "xdp" not in netns.run("ip", "-n", pair.inner, "link", "show", "dev", pair.inner_if).stdout
    assert udp_arrivals(pair.inner, pair.outer, pair.inner4, 514) == 3
    again = lockgate("down", "edge")
    assert again.returncode == 3
    assert "E0910" in again.stderr


def test_dynamic_sets_change_while_packets_are_judged(loaded: Path, pair: netns.Pair, tmp_path: Path) -> None:
    assert udp_arrivals(pair.inner, pair.outer, pair.inner4, 53) == 3
    assert lockgate("set", "add", "bans", "192.0.2.0/24", "2001:db8::2").returncode == 0
    assert udp_arrivals(pair.inner, pair.outer, pair.inner4, 53) == 0
    assert udp_arrivals(pair.inner, pair.outer, pair.inner6, 53) == 0
    assert lockgate("up", str(loaded)).returncode == 0
    assert lockgate_json("set", "list", "bans") == ["192.0.2.0/24", "2001:db8::2/128"], (
        "a new policy keeps it"
    )
    assert lockgate("set", "del", "bans", "192.0.2.0/24").returncode == 0
    assert udp_arrivals(pair.inner, pair.outer, pair.inner4, 53) == 3
    listed = tmp_path / "prefixes"
    listed.write_text("# bans\n198.51.100.0/24\n\n203.0.113.9  # one\n")
    assert lockgate_json("set", "load", "bans", str(listed)) == {"set": "bans", "prefixes": 2}
    assert lockgate_json("set", "list", "bans") == ["198.51.100.0/24", "203.0.113.9/32"]
    assert lockgate_json("set", "flush", "bans") == {"set": "bans", "removed": 2}
    assert lockgate_json("set", "list") == [{"policy": "edge", "set": "bans", "prefixes": 0, "max": 4}]


def test_what_a_set_cannot_hold(loaded: Path) -> None:
    host_bits = lockgate("set", "add", "bans", "10.0.0.1/8")
    assert (host_bits.returncode, "E0911" in host_bits.stderr) == (2, True)
    assert "write 10.0.0.0/8 for the network, 10.0.0.1 for the host" in host_bits.stderr
    nonsense = lockgate("set", "add", "bans", "10.0.0.300")
    assert (nonsense.returncode, "E0911" in nonsense.stderr) == (2, True)
    mapped = lockgate("set", "add", "bans", "::ffff:10.0.0.0/104")
    assert (mapped.returncode, "IPv4" in mapped.stderr) == (2, True)
    unknown = lockgate("set", "add", "bams", "10.0.0.0/8")
    assert (unknown.returncode, "bans" in unknown.stderr) == (2, True)
    full = lockgate("set", "add", "bans", *(f"10.{i}.0.0/16" for i in range(5)))
    assert (full.returncode, "set `bans` is full" in full.stderr) == (2, True)


def test_a_set_that_grew_is_copied_and_one_too_small_is_refused(
    loaded: Path, pair: netns.Pair, tmp_path: Path
) -> None:
    assert lockgate("set", "add", "bans", "10.0.0.0/8", "11.0.0.0/8", "2001:db8:1::/48").returncode == 0

    def with_max(entries: int) -> subprocess.CompletedProcess[str]:
        file = tmp_path / f"{entries}.bundle"
        banned = rule("drop", "banned", src=Live("bans", entries))
        file.write_bytes(bundle("edge", chain("edge", "xdp", pair.target, "pass", banned)))
        return lockgate("up", str(file))

    assert with_max(9).returncode == 0
    assert lockgate_json("set", "list", "bans") == ["10.0.0.0/8", "11.0.0.0/8", "2001:db8:1::/48"]
    refused = with_max(1)
    assert refused.returncode == 2
    assert "does not fit the new one" in refused.stderr
    assert "the old policy is still attached" in refused.stderr
    assert lockgate_json("set", "list") == [{"policy": "edge", "set": "bans", "prefixes": 3, "max": 9}]


def test_events_tell_of_logged_packets(loaded: Path, pair: netns.Pair) -> None:
    command = [sys.executable, "-c", "from lockgate.cli import main; main()"]
    watching = subprocess.Popen(
        [*command, "events", "edge", "--seconds", "3", "--output", "json"], stdout=subprocess.PIPE, text=True
    )
    assert udp_arrivals(pair.inner, pair.outer, pair.inner4, 514) == 0
    out, _ = watching.communicate(timeout=20)
    events = [json.loads(line) for line in out.splitlines()]
    assert len(events) == 3
    assert all((e["rule"], e["verdict"], e["length"]) == ("logged", "drop", 43) for e in events)
    header = bytes.fromhex(events[0]["header"])
    assert len(header) == 43
    assert header[23] == UDP
    assert int.from_bytes(header[36:38]) == 514


def test_a_connect_event_says_where_to(bpffs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lockgate.runtime import events, running

    from .actions import up

    with netns.cgroup() as (name, directory):
        up(
            bundle("out", chain("out", "connect", name, "allow", rule("reject", "no", proto=TCP, sample=1))),
            bpffs,
        )
        code = (
            "import socket,sys\nopen(sys.argv[1]+'/cgroup.procs','w').write('0')\n"
            "try: socket.create_connection(('127.0.0.1', 9))\nexcept PermissionError: print('refused')"
        )
        done = netns.run(sys.executable, "-c", code, str(directory))
        assert done.stdout.strip() == "refused"
        (event,) = events.follow(running.find(bpffs, "out"), 0.05)
        assert event.destination == (TCP, "127.0.0.1", 9)
        from lockgate.runtime import swap

        swap.down("out", bpffs)


def test_a_plan_without_doing(loaded: Path) -> None:
    done = lockgate("up", "--dry-run", str(loaded))
    assert done.returncode == 0
    assert "attach edge:edge at xdp" in done.stdout
    assert "LPM trie set:bans" in done.stdout


def test_up_compiles_a_policy_and_repairs_what_somebody_removed(
    bpffs: Path, pair: netns.Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_BPFFS", str(bpffs))
    policy = tmp_path / "written.gate"
    policy.write_text(
        'policy written at xdp on "lan0" {\n  default pass\n  fragments first-only\n'
        "  no-syslog: drop udp to port 514\n}\n"
    )
    up = ("up", str(policy), "--netns", pair.inner)
    done = lockgate(*up)
    assert done.returncode == 0, done.stderr
    assert udp_arrivals(pair.inner, pair.outer, pair.inner4, 514) == 0
    for link in pins.listing(bpffs / pins.FOLDER / "written" / "links"):
        link.unlink()
    assert "gone" in lockgate("status").stdout
    assert udp_arrivals(pair.inner, pair.outer, pair.inner4, 514) == 3
    assert lockgate(*up).returncode == 0
    assert udp_arrivals(pair.inner, pair.outer, pair.inner4, 514) == 0
    policy.write_text('policy written at xdp on "lan0" {\n  defaul pass\n}\n')
    broken = lockgate(*up)
    assert broken.returncode == 1
    assert "E0101" in broken.stderr
    assert udp_arrivals(pair.inner, pair.outer, pair.inner4, 514) == 0, "the old policy is still attached"


def test_a_profile_of_what_runs(loaded: Path, pair: netns.Pair, tmp_path: Path) -> None:
    """Written by two commands, and taken by the compiler."""
    udp_arrivals(pair.inner, pair.outer, pair.inner4, 514)
    file = tmp_path / "all.profile"
    done = lockgate("counters", "edge", "--profile", str(file))
    assert done.returncode == 0, done.stderr
    counts = json.loads(file.read_text())["chains"]["edge"]
    assert counts["logged"] == 3
    assert "syslog" not in counts, "named counters decide nothing"
    later = tmp_path / "later.profile"
    done = lockgate("up", str(loaded), "--profile", str(later), "--seconds", "0.2")
    assert done.returncode == 0, done.stderr
    assert "a profile of " in done.stderr
    found = json.loads(later.read_text())
    assert found["policy"] == "edge"
    assert found["chains"]["edge"]["logged"] == 0, "only what came meanwhile"
    assert lockgate("counters", "edge", "--profile", str(tmp_path / "no" / "where")).returncode == 3
