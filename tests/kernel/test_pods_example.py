"""The example for pods, by the command: its own policy and inventory, with real pods."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import pods

from .test_nftables_life import lockgate

pytestmark = pytest.mark.kernel

EXAMPLE = Path(__file__).parents[2] / "examples" / "pods"
PORTS = (5432, 8080)
NAMES = {"veth-api": "10", "veth-db": "11", "veth-blog": "12"}  # interface: end of the addresses


def moved(cluster: pods.Cluster) -> str:
    """The inventory, where the addresses and interfaces are those of the pods."""
    text = (EXAMPLE / "inventory.yaml").read_text()
    for (device, last), pod in zip(NAMES.items(), cluster.pods, strict=True):
        for there, here in (
            (f" 10.244.1.{last},", f" {pod.ip4},"),
            (f"fd00:244:1::{last}", pod.ip6),
            (f"interface: {device}\n", f"interface: {cluster.host}/{pod.device}\n"),
        ):
            assert text.count(there) == 1
            text = text.replace(there, here)
    return text


def test_the_example_at_work(bpffs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_BPFFS", str(bpffs))
    inventory = tmp_path / "inventory.yaml"
    with pods.cluster(3, ports=PORTS) as cluster:
        api, db, blog = cluster.pods
        text = moved(cluster)
        inventory.write_text(text)
        lockgate("up", "--endpoints", str(inventory), str(EXAMPLE / "shop.gate"))
        for to in (db.ip4, db.ip6):
            assert api.reaches("tcp", to, 5432) and not api.reaches("tcp", to, 8080)
            assert not blog.reaches("tcp", to, 5432)
        assert blog.reaches("tcp", api.ip6, 8080) and not blog.reaches("udp", api.ip6, 8080)
        assert api.ask("hold", id=1, kind="tcp", to=db.ip4, port=5432, sport=4000) == "ok"
        assert "shop/api-0:4000" in lockgate("flows", "shop")

        sick = text.replace("{ app: shop, part: api }", "{ app: shop, part: api, quarantine: yes }", 1)
        inventory.write_text(sick)
        lockgate("endpoints", "shop", str(inventory))
        assert api.ask("say", id=1, bytes=10) == "TimeoutError", "open connections end"
        assert not api.reaches("tcp", db.ip4, 5432) and not blog.reaches("tcp", api.ip4, 8080)

        inventory.write_text(text)
        lockgate("endpoints", "shop", str(inventory))
        assert api.reaches("tcp", db.ip4, 5432)
        lockgate("down", "shop")
        assert blog.reaches("tcp", db.ip4, 5432)
