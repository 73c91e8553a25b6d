"""Policies for pods on a host that has rules of iptables and nftables, and publishes ports as Docker does:
neither breaks the other, in both families. docs/beside.md says why."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lockgate.compiler.driver import Options, Session
from lockgate.runtime import bundle, inventory, plan, swap
from lockgate.stdlib_bpf import inventory_text
from tests import netns, pods

pytestmark = pytest.mark.kernel

PODS = """\
policy web for [app=web] {
  default drop
  ingress {
    allow tcp from { [app=api], world } to port 80
    allow icmp6
  }
}
policy api for [app=api] {
  default drop
  egress { allow }
  ingress { allow icmp6 }
}
"""
MARKS = """\
policy marks at tc on "{device}" {{
  default pass
  ingress {{ continue udp to port 81 mark 0x100/0xff00 }}
}}
"""
NFT = """\
table inet agreed {
  chain later { type filter hook forward priority 10; meta mark & 0xff00 == 0x100 counter drop; }
}
"""


@dataclass(frozen=True)
class Family:
    """How one family is written: the command, the host's address, the client's subnet, the server."""

    tables: str
    uplink: str
    subnet: str
    destination: str

    def of(self, pod: pods.Pod) -> str:
        """The pod's address of this family."""
        return pod.ip6 if ":" in self.uplink else pod.ip4


FAMILIES = (
    Family("iptables", "10.77.2.1", "10.77.0.0/24", "10.77.1.2:80"),
    Family("ip6tables", "fd77:2::1", "fd77:0::/64", "[fd77:1::2]:80"),
)


@dataclass(frozen=True)
class Host:
    """A host with a client, a published server, and the world behind its uplink."""

    api: pods.Pod
    web: pods.Pod
    world: pods.Pod
    space: str
    bpffs: Path
    folder: Path

    def run(self, *command: str) -> str:
        return netns.run(*netns.inside(self.space, *command)).stdout

    def up(self, name: str, text: str) -> str:
        """Load a policy; the inventory is of the two pods."""
        path = self.folder / f"{name}.gate"
        path.write_text(text)
        with Session(path, Options()) as session:
            session.prepare()
            session.analyse()
            wanted = plan.make(bundle.parse(session.bundle()))
        known = pods.Cluster(self.space, [self.api, self.web]).inventory()
        if "policy web" in text:
            wanted = inventory.placed(wanted, inventory_text.read(json.dumps(known)))
        return swap.up(wanted, self.bpffs).state.manifest.name

    def rules(self) -> str:
        """Every rule of others, without counts."""
        shown = [self.run(f"{family.tables}-save") for family in FAMILIES]
        shown.append(self.run("nft", "--stateless", "list", "table", "inet", "agreed"))
        return re.sub(r"(?m)^#.*\n|\[\d+:\d+\]", "", "".join(shown))

    def hits(self, family: Family, table: str, chain: str) -> list[int]:
        """How many packets each rule of a chain took."""
        shown = self.run(family.tables, "-t", table, "-nvxL", chain)
        return [int(line.split()[0]) for line in shown.splitlines()[2:]]


def rules(family: Family) -> tuple[str, ...]:
    """What is there before: one client masqueraded, one port published, another closed."""
    return (
        f"-t nat -A POSTROUTING -s {family.subnet} -o pod2 -j MASQUERADE",
        f"-t nat -A PREROUTING -i pod2 -p tcp --dport 8080 -j DNAT --to-destination {family.destination}",
        "-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        "-A FORWARD -p tcp --dport 81 -j DROP",
    )


@pytest.fixture
def host(bpffs: Path, tmp_path: Path) -> Iterator[Host]:
    with pods.cluster(3) as cluster:
        api, web, world = cluster.pods
        for pod, app in zip(cluster.pods, ("api", "web", "world"), strict=True):
            pod.labels["app"] = app
        here = Host(api, web, world, cluster.host, bpffs, tmp_path)
        for family in FAMILIES:
            for chain in rules(family):
                here.run(family.tables, *chain.split())
        (tmp_path / "agreed.nft").write_text(NFT)
        here.run("nft", "-f", str(tmp_path / "agreed.nft"))
        yield here


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.tables)
def test_translated_flows_are_judged_by_the_pods_own_addresses(host: Host, family: Family) -> None:
    """A published port and a masqueraded client go on through NAT; what may not reach the pod does not."""

    def published() -> bool:
        return host.world.reaches("tcp", family.uplink, 8080)

    assert published() and host.api.reaches("tcp", family.of(host.world), 80)
    there = host.rules()
    name = host.up("pods", PODS)
    masqueraded, translated = host.hits(family, "nat", "POSTROUTING"), host.hits(family, "nat", "PREROUTING")
    assert published() and host.api.reaches("tcp", family.of(host.world), 80)
    assert host.api.reaches("udp", family.of(host.world), 80)
    assert host.hits(family, "nat", "POSTROUTING")[0] > masqueraded[0]
    assert host.hits(family, "nat", "PREROUTING")[0] > translated[0]
    assert host.rules() == there
    host.up("pods", PODS.replace("{ [app=api], world }", "[app=api]"))
    assert not published() and host.api.reaches("tcp", family.of(host.web), 80)
    swap.down(name, host.bpffs)
    assert published() and host.rules() == there


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.tables)
def test_both_must_let_a_packet_go(host: Host, family: Family) -> None:
    web = family.of(host.web)
    host.up("pods", PODS.replace("to port 80", "to port 80-81"))
    assert host.api.calls([("tcp", web, 80), ("tcp", web, 81)]) == [True, False], (
        "iptables drops what is allowed"
    )
    host.run(family.tables, "-F", "FORWARD")
    assert host.api.calls([("tcp", web, 81), ("udp", web, 80)]) == [True, False], (
        "and accepts what is dropped"
    )


def test_rules_of_others_may_all_be_reloaded(host: Host) -> None:
    """`nft flush ruleset` and `iptables-restore` take no policy away, and open flows live."""
    host.up("pods", PODS)
    assert host.api.ask("hold", id=1, kind="tcp", to=host.web.ip4, port=80, sport=0) == "ok"
    saved = host.folder / "saved.v4"
    saved.write_text(host.run("iptables-save"))
    for reload in (("iptables-restore", str(saved)), ("nft", "flush", "ruleset")):
        host.run(*reload)
        assert host.api.ask("say", id=1, bytes=100) == "ok"
        assert not host.api.reaches("udp", host.web.ip4, 80)
    assert not host.world.reaches("tcp", "10.77.2.1", 8080), "only their own NAT is gone"


def test_marks_by_agreement(host: Host) -> None:
    """A policy marks packets before netfilter looks, which decides what becomes of them."""
    call = ("udp", host.world.ip4, 81)
    assert host.api.reaches(*call)
    name = host.up("marks", MARKS.format(device=f"{host.space}/pod0"))
    assert not host.api.reaches(*call), "the rule of nftables drops what carries the mark"
    assert host.api.reaches("udp", host.world.ip4, 80)
    assert host.api.reaches("tcp", host.world.ip4, 80)
    assert host.run("nft", "list", "chain", "inet", "agreed", "later").count("packets 0 ") == 0
    swap.down(name, host.bpffs)
    assert host.api.reaches(*call)
