"""`--target hns` in the law: documents mean to an interpreter of HNS what the policy means to the reference.

Never run on Windows. What HNS cannot say is refused by rule, and that rule is left out; packets for which the
table of exceptions has a row are not compared.
"""

from __future__ import annotations

import ipaddress
import json
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from lockgate.compiler import hns as written
from lockgate.compiler.policy.decide import decide
from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.decode.frame import LATER, Malformed
from tests import engines, hns
from tests.properties.packets import Maker
from tests.properties.strategies import Text, policies
from tests.targets import Built, built

POLICIES, PACKETS = 150, 120
SCHEMA = json.loads((Path(written.__file__).parent / "schema.json").read_text())
DIRECTIONS = {"ingress": "In", "egress": "Out"}
MEANS = {"Allow": {"allow", "pass"}, "Block": {"drop"}}


def packet_of(facts: Mapping[str, int]) -> hns.Packet | None:
    """A packet as HNS sees it; None for one that the two are not compared about."""
    if facts["eth.type"] not in fields.IP or facts["ip.fragment"] == LATER:
        return None
    four = facts["eth.type"] == fields.ETH_P_IP
    make = ipaddress.IPv4Address if four else ipaddress.IPv6Address
    family = "ip4" if four else "ip6"
    src, dst = (str(make(facts[f"{family}.{side}"])) for side in ("src", "dst"))
    return hns.Packet(facts["ip.proto"], src, dst, facts.get("th.sport"), facts.get("th.dport"))


def only_what_can_be_said(text: Text) -> Text:
    """Without options and conditions, of which HNS has none."""
    lines = [line for line in text.source.splitlines() if " if " not in line]
    source = "\n".join(lines).replace("fragments track", "fragments first-only")
    source = source.replace("fragments drop", "fragments first-only").replace(
        "default reject", "default drop"
    )
    return Text(source, text.place, text.live, text.files)


@pytest.mark.parametrize("place", ("tc ingress", "tc egress"))
def test_a_document_means_the_same(place: str) -> None:
    tally: Counter[str] = Counter()

    @seed(20260118)
    @given(policies(place), st.integers(0, 2**32 - 1))
    @settings(
        max_examples=POLICIES,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    def law(text: Text, number: int) -> None:
        one = built(only_what_can_be_said(text), "hns")
        tally["policies"] += one is not None
        if one is not None:
            compare(one, text, number, tally)

    law()
    print(place, dict(tally))
    assert tally["policies"] >= POLICIES * 2 // 3
    assert tally["packets"] >= POLICIES * PACKETS // 4
    assert tally["by rules"] >= tally["packets"] // 10
    assert min(tally["Allow"], tally["Block"]) >= tally["packets"] // 10


def compare(one: Built, text: Text, number: int, tally: Counter[str]) -> None:
    document = json.loads(one.text)
    hns.check(document, SCHEMA, SCHEMA)
    (endpoint,) = document["Endpoints"]
    assert len(endpoint["Rules"]) == len(endpoint["Request"]["Policies"])
    for packet in Maker(one.chain, text.live, random.Random(number)).packets(PACKETS):
        facts = engines.facts_of(packet)
        seen = None if isinstance(facts, Malformed) else packet_of(facts)
        if isinstance(facts, Malformed) or seen is None:
            continue
        wanted = decide(one.chain, facts, {})
        got = hns.judged(endpoint["Request"], seen, DIRECTIONS[one.chain.direction])
        other = "egress" if one.chain.direction == "ingress" else "ingress"
        assert hns.judged(endpoint["Request"], seen, DIRECTIONS[other]) == "Allow", "it is left alone"
        tally.update(["packets", got] + ["by rules"] * (wanted.rule >= 0))
        assert wanted.verdict in MEANS[got], f"{seen}\n{wanted}, HNS: {got}\n{one.source}\n{one.text}"


POLICY = """
policy edge at tc on "web-1" {{
  default drop
  ingress {{
    {rule}
  }}
}}
"""
UNSAID = {
    "reject tcp": "`reject`",
    "allow tcp log": "`log`",
    "allow tcp count seen": "`count`",
    "allow tcp limit 5/s": "`limit`",
    "allow tcp mark 1": "`mark` and `dscp`",
    "allow icmp type echo-request": "a test of `icmp.type`",
    "allow tcp flags syn": "a test of `tcp.flags`",
    "allow if ip.ttl > 3": "a test of `ip.ttl`",
    "allow sctp to port 5": "ports of SCTP",
    "drop arp": "block packets that are not IP",
    "continue tcp": "`continue`",
    "allow tcp from ban": "a dynamic set",
    "allow if ip.proto != 6": "255 protocols",
}


@pytest.mark.parametrize("rule", UNSAID)
def test_what_hns_cannot_say_is_refused(rule: str) -> None:
    from lockgate.compiler import targets
    from lockgate.compiler.driver import Session

    session = Session(Path("edge.gate"))
    declared = "network ban = dynamic max 9\n" if "ban" in rule else ""
    session._unit = engines.load(declared + POLICY.format(rule=rule), {})
    targets.ALL["hns"].check(session)
    (found,) = session.sink.diagnostics
    assert found.code == "E0710" and found.labels[0].span.text == rule
    assert UNSAID[rule] in found.message


def test_what_allows_other_packets_than_ip_is_no_entry() -> None:
    text = POLICY.format(rule="allow arp")
    one = built(Text(text, "tc ingress"), "hns")
    assert one is not None and one.refused == 0
    assert json.loads(one.text)["Endpoints"][0]["Rules"] == ["default", "default"]


def test_runs_of_one_verdict_share_a_priority() -> None:
    listed = ("allow tcp to port 1", "allow tcp to port 2", "drop udp to port 1", "drop udp to port 2")
    rules = "\n".join((*listed, "allow udp to port 3"))
    one = built(Text(POLICY.format(rule=rules), "tc ingress"), "hns")
    assert one is not None
    policies = json.loads(one.text)["Endpoints"][0]["Request"]["Policies"]
    assert [p["Settings"]["Priority"] for p in policies] == [100, 100, 101, 101, 101, 65500, 65500]
