"""Flows of rules with `log` are told of as they open and end, and what is denied, by names; real pods."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from lockgate.compiler.driver import Options, Session
from lockgate.runtime import acquaint, bundle, counters, flowevents, inventory, plan, running, swap
from lockgate.runtime.endpointcli import flows_command
from lockgate.stdlib_bpf import inventory_text
from lockgate.stdlib_bpf.inventory import Inventory
from tests import pods

pytestmark = pytest.mark.kernel

POLICY = """\
forward {}
policy db for [app=db] {{
  default drop
  ingress {{
    web: allow tcp from [app=api] to port 80 log
    allow icmp6
    closed: drop log
  }}
}}
policy api for [app=api] {{
  default drop
  egress {{ out: allow to cluster log }}
}}
policy watched for [app=db] {{
  order 1
  mode audit
  ingress {{ quiet: allow udp log  odd: drop tcp from [app=api] to port 81 log }}
}}
"""


@pytest.fixture
def two() -> Iterator[pods.Cluster]:
    with pods.cluster(2) as cluster:
        for pod, app in zip(cluster.pods, ("api", "db"), strict=True):
            pod.labels["app"] = app
        yield cluster


def known(cluster: pods.Cluster) -> Inventory:
    return inventory_text.read(json.dumps(cluster.inventory()))


def up(cluster: pods.Cluster, bpffs: Path, folder: Path, mode: str) -> str:
    path = folder / "pods.gate"
    path.write_text(POLICY.format(mode))
    with Session(path, Options()) as session:
        session.prepare()
        session.analyse()
        built = bundle.parse(session.bundle())
    return swap.up(inventory.placed(plan.make(built), known(cluster)), bpffs).state.manifest.name


def told(name: str, bpffs: Path) -> list[tuple[str, str, str, str]]:
    """What is told, in order: what, the two ends, the rule."""
    time.sleep(0.1)
    return [
        (one.what, one.endpoint.text, one.peer.text, one.slot.label)
        for one in flowevents.follow(running.find(bpffs, name), 0)
    ]


@pytest.mark.parametrize("mode", ["stack", "fast"])
def test_a_connection_from_its_beginning_to_its_end(
    mode: str, two: pods.Cluster, bpffs: Path, tmp_path: Path
) -> None:
    api, db = two.pods
    name = up(two, bpffs, tmp_path, mode)
    assert api.ask("hold", id=1, kind="tcp", to=db.ip4, port=80, sport=4000) == "ok"
    ends = {"api.out": ("default/p0:4000", "default/p1:80"), "db.web": ("default/p1:80", "default/p0:4000")}
    assert told(name, bpffs) == [("opened", *ends[rule], rule) for rule in ("api.out", "db.web")]
    for _ in range(3):
        assert api.ask("say", id=1, bytes=1000) == "ok"
    assert api.ask("hang up", id=1) == "ok"
    time.sleep(0.2)
    over = list(flowevents.follow(running.find(bpffs, name), 0))
    assert [(one.what, one.endpoint.text, one.peer.text, one.slot.label) for one in over] in (
        [("closed", *ends[rule], rule) for rule in rules]
        for rules in (("api.out", "db.web"), ("db.web", "api.out"))
    )
    assert {one.sent for one in over} == {True, False}
    one, other = over
    assert one.packets is not None and other.packets is not None and one.bytes is not None
    assert min(one.packets) >= 5 and min(one.bytes) > 3000 and 0 < one.lasted_ns < 60e9
    assert max(abs(a - b) for a, b in zip(one.packets, other.packets[::-1], strict=True)) <= 1


def test_what_is_denied_and_what_is_no_longer_allowed(two: pods.Cluster, bpffs: Path, tmp_path: Path) -> None:
    api, db = two.pods
    name = up(two, bpffs, tmp_path, "stack")
    assert not api.reaches("tcp", db.ip6, 81)
    denied = [line for line in told(name, bpffs) if line[0] == "denied"]
    assert denied and {line[3] for line in denied} == {"db.closed"}
    policy = running.find(bpffs, name)
    (audited,) = (count for count in counters.read(policy) if count.slot.label == "watched.odd")
    assert audited.packets == len(denied) and audited.slot.said == "would drop"
    assert all(line[1] == "default/p1:81" and line[2].startswith("default/p0:") for line in denied)
    assert api.ask("hold", id=1, kind="tcp", to=db.ip4, port=80, sport=4000) == "ok"
    told(name, bpffs)
    api.labels["app"] = "blog"
    acquaint.know(name, known(two), None, bpffs)
    assert api.ask("say", id=1, bytes=10) == "TimeoutError"
    after = told(name, bpffs)
    assert ("revoked", "default/p1:80", "default/p0:4000", "db.web") in after


def test_the_command(two: pods.Cluster, bpffs: Path, tmp_path: Path) -> None:
    api, db = two.pods
    name = up(two, bpffs, tmp_path, "stack")
    command = [str(bpffs), name]

    def said(*more: str) -> list[str]:
        assert api.reaches("tcp", db.ip4, 80)
        time.sleep(0.1)
        given = [command[1], "--follow", "--seconds", "0", "--bpffs", command[0], *more]
        result = CliRunner().invoke(flows_command, given, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output.splitlines()

    lines = said()
    assert any("  opened  tcp default/p0:" in line and line.endswith("api.out  allow") for line in lines)
    assert any("  closed  tcp default/p1:80 <- default/p0:" in line and " bytes, " in line for line in lines)
    events = [json.loads(line) for line in said("--output", "json")]
    assert {one["event"] for one in events} == {"opened", "closed"}
    (closed,) = (one for one in events if one["event"] == "closed" and one["rule"] == "db.web")
    assert closed["subject"] == {"address": db.ip4, "port": 80, "endpoint": "default/p1"}
    assert closed["opened_by"] == "peer" and closed["verdict"] == "allow" and closed["line"] == 5
    assert closed["received"]["packets"] >= 3 and closed["sent"]["bytes"] > 100
