"""A policy that nftables runs, by the command: loaded, seen on real packets, replaced, counted, removed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import netns

pytestmark = pytest.mark.kernel

POLICY = """\
network ban = dynamic max 100

policy edge at xdp on "{target}" {{
  default   pass
  fragments first-only
  ssh: {verdict} tcp to port 22 count probes
  drop udp from ban
}}
"""
FOREIGN = "table netdev theirs {\n\tcounter kept {\n\t\tpackets 7 bytes 70\n\t}\n}\n"
ANSWER = """
import socket
s = socket.create_server(("192.0.2.1", int(__import__("sys").argv[1])))
print("ready", flush=True)
s.accept()
"""
KNOCK = """
import socket, sys
try:
    socket.create_connection(("192.0.2.1", int(sys.argv[1])), timeout=1)
    print("open")
except OSError as error:
    print("closed")
"""


def lockgate(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "lockgate", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def knocked(pair: netns.Pair, port: int) -> str:
    """What a TCP connection from outside to a port that somebody listens at comes to."""
    with netns.python(pair.inner, ANSWER, str(port)) as listening:
        assert listening.stdout is not None and listening.stdout.readline() == "ready\n"
        said, _ = netns.python(pair.outer, KNOCK, str(port)).communicate(timeout=30)
        listening.kill()
    return said.strip()


def written(tmp_path: Path, pair: netns.Pair, verdict: str) -> Path:
    path = tmp_path / "edge.gate"
    path.write_text(POLICY.format(target=pair.target, verdict=verdict))
    return path


def test_a_policy_lives_in_nftables(pair: netns.Pair, tmp_path: Path) -> None:
    inside = netns.inside(pair.inner, "nft")
    subprocess.run([*inside, "-f", "-"], input=FOREIGN, text=True, check=True)
    there = ("--target", "nftables", "--netns", pair.inner)
    policy = written(tmp_path, pair, "drop")
    assert knocked(pair, 22) == "open"

    lockgate("build", "--target", "nftables", str(policy))
    said = lockgate("up", "--target", "nftables", str(tmp_path / "edge.nft"))
    assert said == f"edge: attached\n  ingress of {pair.inner_if}\n"
    assert (knocked(pair, 22), knocked(pair, 23)) == ("closed", "open")
    counted = {c["label"]: c for c in json.loads(lockgate("counters", "edge", *there, "--output", "json"))}
    assert counted["ssh"]["packets"] >= 1 and counted["probes"]["packets"] == counted["ssh"]["packets"]
    assert counted["default"]["packets"] >= 3 and counted["ssh"]["verdict"] == "drop"
    assert (counted["ssh"]["file"], counted["ssh"]["line"]) == ("edge.gate", 6)
    assert "edge.gate:7" in lockgate("counters", *there)
    assert f"edge    ingress  {pair.inner_if}    edge   attached" in lockgate("status", *there)

    written(tmp_path, pair, "pass")
    assert lockgate("up", "--target", "nftables", str(policy)).startswith("edge: replaced")
    assert knocked(pair, 22) == "open"

    assert lockgate("down", "edge", *there) == "edge: removed, 1 chain detached\n"
    assert lockgate("status", *there) == "nothing is loaded\n"
    assert netns.run(*inside, "list", "ruleset").stdout == FOREIGN
    assert "E0910" in lockgate("down", "edge", *there, code=3)


def test_a_file_that_nft_refuses_changes_nothing(pair: netns.Pair, tmp_path: Path) -> None:
    there = ("--target", "nftables", "--netns", pair.inner)
    policy = written(tmp_path, pair, "drop")
    lockgate("up", "--target", "nftables", str(policy))
    lockgate("build", "--target", "nftables", str(policy))
    file = tmp_path / "edge.nft"
    good = file.read_text()
    file.write_text(good.replace("policy accept", "policy maybe"))
    said = lockgate("up", "--target", "nftables", str(file), code=3)
    assert "E0912" in said and "nothing was changed" in said
    file.write_text(good.replace(pair.inner_if, "missing0"))
    said = lockgate("up", "--target", "nftables", str(file), code=3)
    assert "E0903" in said and "interfaces: lan0, lo" in said
    assert pair.inner_if in lockgate("status", *there)
    assert knocked(pair, 22) == "closed"


def test_what_is_no_ruleset_of_ours_is_not_loaded(tmp_path: Path) -> None:
    file = tmp_path / "own.nft"
    file.write_text("table inet own { }\n")
    assert "E0906" in lockgate("up", "--target", "nftables", str(file), code=2)
    assert "E0906" in lockgate("up", "--target", "nftables", str(tmp_path / "none.nft"), code=2)


def test_a_dry_run_prints_the_file(tmp_path: Path) -> None:
    policy = tmp_path / "edge.gate"
    policy.write_text(POLICY.format(target="eth0", verdict="drop"))
    lockgate("build", "--target", "nftables", str(policy))
    said = lockgate("up", "--target", "nftables", "--dry-run", str(policy))
    assert said == (tmp_path / "edge.nft").read_text()
