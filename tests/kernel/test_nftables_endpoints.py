"""Policies for labels that nftables runs, by the command: pods, their host and the world call each other, and
frames that are nobody's are sent by hand. Who reaches whom at random: `test_reachability`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import netns, pods
from tests.flowing import error, packet

from .test_endpoints import segment
from .test_nftables_life import lockgate

pytestmark = pytest.mark.kernel

POLICY = """\
network ban = dynamic max 9
tiers first > last
policy guard for [] {{
  tier first
  ingress {{
    banned: drop from ban
    pass tcp to port 80 count web
    drop tcp to port 79-80
    audited: drop udp to port 81
  }}
}}
policy db for [app=db] {{
  tier last
  ingress {{ {rule} }}
}}
policy node for hosts [] {{
  tier last
  ingress {{ allow tcp to port 80  drop icmp6 }}  # reports of multicast groups come when they like
}}
"""
FEW = "from-api: allow tcp, icmp, icmp6 from [app=api]"


@pytest.fixture
def three() -> Iterator[pods.Cluster]:
    """An API, a database, and the world behind the host's uplink."""
    with pods.cluster(3) as made:
        for pod, app in zip(made.pods, ("api", "db", "world"), strict=True):
            pod.labels["app"] = app
        yield made


class Loaded:
    """A policy with its inventory, and what the command says of it."""

    def __init__(self, cluster: pods.Cluster, folder: Path) -> None:
        self.policy, self.inventory = folder / "pods.gate", folder / "inventory.json"
        self.there = ("--target", "nftables", "--netns", cluster.host)
        four, six = ([text.format(i) for i in range(3)] for text in ("10.77.{}.1", "fd77:{}::1"))
        node = {
            "name": "node",
            "kind": "host",
            "addresses": [*four, *six],
            "interfaces": [f"{cluster.host}/pod2"],
        }
        inventory = pods.Cluster(cluster.host, cluster.pods[:2]).inventory()
        inventory["endpoints"].append(node)
        self.inventory.write_text(json.dumps(inventory))

    def up(self, rule: str = FEW) -> str:
        self.policy.write_text(POLICY.format(rule=rule))
        lockgate("build", "--target", "nftables", "--endpoints", str(self.inventory), str(self.policy))
        return lockgate("up", "--target", "nftables", str(self.policy.with_suffix(".nft")))

    def counted(self) -> dict[str, int]:
        listed = json.loads(lockgate("counters", "pods", *self.there, "--output", "json"))
        return {one["label"]: one["packets"] for one in listed}


def test_policies_for_labels_live_in_nftables(three: pods.Cluster, tmp_path: Path) -> None:
    api, db, world = three.pods
    loaded = Loaded(three, tmp_path)
    said = loaded.up()
    assert said == "pods: attached\n" + "".join(
        f"  {h} of this host\n" for h in ("forward", "input", "output")
    )
    assert (api.reaches("tcp", db.ip4, 80), world.reaches("tcp", db.ip4, 80)) == (True, False)
    assert (api.reaches("tcp", db.ip6, 81), db.reaches("tcp", api.ip6, 80)) == (True, False)
    assert not api.reaches("udp", db.ip4, 81)
    counted = loaded.counted()
    assert counted["db.from-api"] >= 2 and counted["web"] >= 2 and counted["guard.audited"] >= 1
    assert counted["known flow"] >= 4 and counted["foreign source"] == 0
    assert "forward  this host" in lockgate("status", *loaded.there)

    table = ("add", "element", "inet", "lockgate-pods", "ban-4", f"{{ {api.ip4} }}")
    netns.run(*netns.inside(three.host, "nft", *table))
    assert (api.reaches("tcp", db.ip4, 80), api.reaches("tcp", db.ip6, 80)) == (False, True)

    assert loaded.up("drop").startswith("pods: replaced")
    assert not api.reaches("tcp", db.ip4, 81)
    assert lockgate("down", "pods", *loaded.there) == "pods: removed, 3 chains detached\n"
    assert netns.run(*netns.inside(three.host, "nft", "list", "ruleset")).stdout == ""
    assert world.reaches("tcp", db.ip4, 80)


def test_a_policy_of_another_kind_takes_its_place(three: pods.Cluster, tmp_path: Path) -> None:
    """A table that the policy has no more is gone, too."""
    loaded = Loaded(three, tmp_path)
    loaded.up()
    target = f"{three.host}/pod0"
    loaded.policy.write_text(f'policy edge at xdp on "{target}" {{ default pass fragments drop drop udp }}\n')
    assert lockgate("up", "--target", "nftables", str(loaded.policy)).startswith("pods: replaced")
    tables = netns.run(*netns.inside(three.host, "nft", "list", "tables")).stdout
    assert tables == "table netdev lockgate-pods\n"


def test_forged_packets(three: pods.Cluster, tmp_path: Path) -> None:
    api, db, _ = three.pods
    loaded = Loaded(three, tmp_path)
    loaded.up()
    assert api.ask("hold", id=1, kind="tcp", to=db.ip4, port=81, sport=4000) == "ok"
    before = loaded.counted()
    # Out of nowhere: dropped at the database, since nothing opens there.
    nowhere = [
        packet("tcp", api.ip4, 4001, db.ip4, 81, flags) for flags in ("syn,ack", "rst", "ack", "fin,ack")
    ]
    segment(three, api, nowhere)
    # In another's name: dropped where they are sent.
    segment(
        three,
        db,
        [packet("tcp", api.ip4, 4000, db.ip4, 81, "rst"), packet("udp", "192.0.2.1", 5, api.ip4, 9)],
    )
    after = {label: count - before[label] for label, count in loaded.counted().items()}
    assert after["foreign source"] == 2 and after["undecided.ingress"] == 4
    assert api.ask("say", id=1, bytes=1000) == "ok"
    # What the far end of a known flow may say follows it; frames made here have no checksums.
    netns.run(*netns.inside(three.host, "sysctl", "-qw", "net.netfilter.nf_conntrack_checksum=0"))
    before = loaded.counted()
    segment(three, api, [error(api.ip4, db.ip4, packet("tcp", db.ip4, 81, api.ip4, 4000, "ack"))])
    assert loaded.counted()["known flow"] == before["known flow"] + 1


def test_a_host_judges_what_is_its_own(three: pods.Cluster, tmp_path: Path) -> None:
    api, db, world = three.pods
    agent = pods.Pod("host", three.host, three.host, "", "10.77.0.1", "fd77:0::1")
    agent.agent = netns.python(three.host, pods.AGENT, "[80, 81]")
    try:
        assert agent.agent.stdout is not None and agent.agent.stdout.readline() == "ready\n"
        Loaded(three, tmp_path).up()
        for caller, to in ((world, ("10.77.2.1", "fd77:2::1")), (api, ("10.77.0.1", "fd77:0::1"))):
            asked = [(kind, one, port) for kind in ("tcp", "udp") for one in to for port in pods.PORTS]
            assert caller.calls(asked) == [kind == "tcp" and port == 80 for kind, _, port in asked]
        for to in (db.ip4, db.ip6):
            assert not world.reaches("tcp", to, 80)  # forwarded, and the pod is closed
            assert agent.reaches("tcp", to, 80) and agent.reaches("udp", to, 81)  # its own host may
        assert agent.reaches("tcp", world.ip4, 80)
    finally:
        agent.agent.kill()
        agent.agent.communicate()
