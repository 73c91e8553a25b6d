"""`--target hns` for endpoints and services: documents mean to an interpreter of HNS what the policy means to
the reference. Never run on Windows. Compared are packets that open something, which entries judge."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from lockgate import passage
from lockgate.compiler import targets
from lockgate.compiler.diagnostics import Diagnostic
from lockgate.compiler.driver import Session
from lockgate.compiler.packet import parse
from lockgate.stdlib_bpf import inventory_text
from lockgate.stdlib_bpf.balance import reference
from lockgate.stdlib_bpf.decode.frame import Frame
from lockgate.stdlib_bpf.inventory import Entry, Inventory
from tests import engines, hns
from tests.flowing import address
from tests.kernel.test_reachability import LABELS, text
from tests.properties.test_hns import SCHEMA

NUMBERS = {"tcp": 6, "udp": 17}
PEOPLE = Inventory(
    tuple(
        Entry(
            f"p{i}",
            labels=labels,
            addresses=(address(f"10.77.{i}.2"), address(f"fd77:{i}::2")),
            interfaces=(f"pod{i}",),
        )
        for i, labels in enumerate(LABELS)
    )
)
ENDS = [*(f"10.77.{i}.2" for i in range(3)), *(f"fd77:{i}::2" for i in range(3)), "192.0.2.7", "2001:db8::7"]


def written(source: str, people: Inventory | None = PEOPLE) -> tuple[Session, dict[str, object]]:
    session = Session(Path("p.gate"))
    session._unit, session._inventory = engines.load(source, {}), people
    targets.ALL["hns"].check(session)
    assert session.sink.diagnostics == []
    document = json.loads(targets.ALL["hns"].build(session))
    hns.check(document, SCHEMA, SCHEMA)
    return session, document


def test_who_reaches_whom() -> None:
    tally: Counter[str] = Counter()
    for number in range(60):
        compare(text(number), tally)
    print(dict(tally))
    assert min(tally["Allow"], tally["Block"]) >= 1000


def compare(source: str, tally: Counter[str]) -> None:
    session, document = written(source)
    requests = {one["Name"]: one["Request"] for one in document["Endpoints"]}  # type: ignore[attr-defined]
    with ExitStack() as stack:
        (chain,) = session.unit.chains
        between = passage.Between(PEOPLE, chain.selections, passage.interp(session, chain, {}, stack))
        for kind, source_, to, port in (
            (kind, a, b, port)
            for kind in NUMBERS
            for a in ENDS
            for b in ENDS
            for port in (80, 81, 82)
            if a != b and (":" in a) == (":" in b)
        ):
            ends = (f"[{source_}]", f"[{to}]") if ":" in to else (source_, to)
            frame = parse(f"{kind} {ends[0]}:40000 > {ends[1]}:{port}")
            assert isinstance(frame, Frame)
            seen = hns.Packet(NUMBERS[kind], source_, to, 40000, port)
            for way, word in (("egress", "Out"), ("ingress", "In")):
                for judged in between(frame, way):
                    got = hns.judged(requests[judged.name.replace("p", "pod")], seen, word)
                    tally[got] += 1
                    assert (got == "Allow") == (judged.decision.verdict == "allow"), f"{seen} {way}\n{source}"


HOST = """
endpoints:
  - { name: a, labels: { app: a }, addresses: [ 10.0.0.1 ], interface: a }
  - { name: node, kind: host, addresses: [ 10.9.0.1 ], interfaces: [ eth0 ] }
"""


def test_what_the_host_begins_is_let_in() -> None:
    _, document = written("policy a for [app=a] { ingress { } }", inventory_text.read(HOST))
    (one,) = document["Endpoints"]  # type: ignore[misc]
    judged = [
        hns.judged(one["Request"], hns.Packet(6, a, "10.0.0.1", 4, 80), "In")
        for a in ("10.9.0.1", "10.9.0.2")
    ]
    assert judged == ["Allow", "Block"]


SHOP = """
balance shop for cgroup "/" {{
  vip 10.96.0.40, fd00:96::40
  port tcp 443 -> 8443
  port udp 53
  backends {{ 10.244.1.7 {first}, 10.244.2.9, fd00:244:1::7 }}
  {more}
}}
"""


def test_services_are_load_balancers() -> None:
    session, document = written(SHOP.format(first="", more="affinity client 3h"), None)
    ((balancer,),) = (session.unit.balancers,)
    targets_ = {front.port: front.target for front in balancer.services[0].fronts}
    for protocol in (6, 17):
        for vip in ("10.96.0.40", "fd00:96::40", "10.96.0.41"):
            for port in (53, 443, 80):
                wanted = reference.answer(balancer.services, protocol, vip, port).backends
                found, stays = hns.balanced(document, protocol, vip, port)
                assert found == [(one.address, targets_[port]) for one in wanted]
                assert stays == bool(wanted)
    _, document = written(SHOP.format(first="", more=""), None)
    assert not hns.balanced(document, 6, "10.96.0.40", 443)[1]


def refused(source: str, people: Inventory | None = PEOPLE) -> list[Diagnostic]:
    session = Session(Path("p.gate"))
    session._unit, session._inventory = engines.load(source, {}), people
    targets.ALL["hns"].check(session)
    return session.sink.diagnostics


POLICY = "policy a for {who} {{ {more} ingress {{ {rule} }} }}"
PODS = {
    "policies for labels": (POLICY.format(who="[app=api]", more="", rule="allow tcp"), None),
    "judge this host": (POLICY.format(who="hosts []", more="", rule="allow tcp"), inventory_text.read(HOST)),
    "`state off`": (POLICY.format(who="[app=api]", more="state off", rule="allow tcp"), PEOPLE),
    "`forward fast`": ("forward fast\n" + POLICY.format(who="[app=api]", more="", rule="allow tcp"), PEOPLE),
    "`continue`": (POLICY.format(who="[app=api]", more="", rule="continue tcp"), PEOPLE),
    "a test of `icmp.type`": (
        POLICY.format(who="[app=api]", more="", rule="allow icmp type echo-request"),
        PEOPLE,
    ),
}
SERVICES = {
    "services for some cgroups": SHOP.replace('"/"', '"/shop"').format(first="", more=""),
    "`weight`": SHOP.format(first="weight 3", more=""),
    "`draining`": SHOP.format(first="draining", more=""),
    "backends with ports of their own": SHOP.format(first="", more="").replace(
        "10.244.1.7 ", "10.244.1.7 port 9000"
    ),
    "`empty pass`": SHOP.format(first="", more="empty pass"),
    "`exempt`": SHOP.format(first="", more='exempt cgroup "/mesh"'),
}


@pytest.mark.parametrize("what", (*PODS, *SERVICES))
def test_what_hns_cannot_say_is_refused(what: str) -> None:
    source, people = PODS.get(what) or (SERVICES[what], None)
    (found,) = refused(source, people)
    assert found.code == "E0710" and what in found.message
