"""The entity `self`, with a real pod: its own host answers, and another host does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import netns, pods

from .test_nftables_life import lockgate

pytestmark = pytest.mark.kernel

POLICY = """\
policy api for [app=api] {{
  default drop
  egress {{ allow tcp to {whom} port 80 }}
}}
"""


def test_a_pod_may_reach_its_own_host(bpffs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_BPFFS", str(bpffs))
    with pods.cluster(2) as cluster:
        api, other = cluster.pods
        api.labels["app"] = "api"
        own, theirs = ("10.77.0.1", "fd77:0::1"), (other.ip4, other.ip6)
        known = pods.Cluster(cluster.host, [api]).inventory()
        known["endpoints"] += [
            {
                "name": "here",
                "kind": "host",
                "addresses": own,
                "interfaces": [f"{cluster.host}/{other.device}"],
            },
            {"name": "there", "kind": "host", "addresses": theirs},
        ]
        inventory, policy = tmp_path / "inventory.json", tmp_path / "own.gate"
        inventory.write_text(json.dumps(known))
        with netns.python(cluster.host, pods.AGENT, "[80]") as host:
            try:
                assert host.stdout is not None and host.stdout.readline() == "ready\n"
                for whom, answered in (("self", (True, False)), ("nodes", (True, True))):
                    policy.write_text(POLICY.format(whom=whom))
                    lockgate("up", "--endpoints", str(inventory), str(policy))
                    calls = [("tcp", address, 80) for address in (*own, *theirs)]
                    assert api.calls(calls) == [answer for answer in answered for _ in range(2)], whom
            finally:
                host.kill()
