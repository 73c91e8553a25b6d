"""`reload keep`: what is open stays open when rules and labels change, and nothing new opens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import pods

from .test_nftables_life import lockgate

pytestmark = pytest.mark.kernel

POLICY = """\
policy db for [app=db] {{
  {reload}
  default drop
  ingress {{ {rule} }}
}}
"""
OPEN, SHUT = "allow tcp from [app=api] to port 80", "drop udp"


@pytest.mark.parametrize(("reload", "said"), [("reload keep", "ok"), ("reload judge", "TimeoutError")])
def test_open_flows(
    reload: str, said: str, bpffs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_BPFFS", str(bpffs))
    inventory, policy = tmp_path / "inventory.json", tmp_path / "pods.gate"
    with pods.cluster(2) as cluster:
        api, db = cluster.pods
        api.labels["app"], db.labels["app"] = "api", "db"

        def up(rule: str) -> None:
            inventory.write_text(json.dumps(cluster.inventory()))
            policy.write_text(POLICY.format(reload=reload, rule=rule))
            lockgate("up", "--endpoints", str(inventory), str(policy))

        up(OPEN)
        for number, to in enumerate((db.ip4, db.ip6)):
            assert api.ask("hold", id=number, kind="tcp", to=to, port=80, sport=0) == "ok"
        api.labels["app"] = "blog"
        inventory.write_text(json.dumps(cluster.inventory()))
        lockgate("endpoints", "pods", str(inventory))
        assert api.ask("say", id=0, bytes=100) == said
        api.labels["app"] = "api"
        up(SHUT)
        assert api.ask("say", id=1, bytes=100) == said
        assert not api.reaches("tcp", db.ip4, 80) and not api.reaches("tcp", db.ip6, 80)
