"""Assertions: what is proved holds for every packet, and a counterexample is one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.compiler import packet, proof
from lockgate.compiler.match import prove
from lockgate.compiler.policy.decide import decide, matches
from lockgate.compiler.policy.model import Assert, Chain, Prefixes, Rule
from lockgate.stdlib_bpf.decode.frame import Facts
from lockgate.stdlib_bpf.state.limits import Buckets
from tests import engines

from .programs import LIVE, chains, contents, facts, rules

claims = rules().map(lambda rule: replace(rule, verdict="drop", limit=None))


@given(chains(), claims, st.lists(facts(), min_size=8, max_size=25), contents(), st.booleans())
@settings(deadline=None, max_examples=200)
def test_what_is_proved_holds(
    chain: Chain, claim: Rule, packets: list[Facts], live: dict[str, Prefixes], told: bool
) -> None:
    result = proof.check(chain, Assert(claim.span, chain.name, claim), live if told else {})
    buckets = Buckets()
    for seen in packets:
        if not matches(claim, seen, live):
            continue
        answers = {decide(chain, seen, live, buckets).verdict, decide(chain, seen, live).verdict}
        assert result is not None or answers == {claim.verdict}
    if isinstance(result, proof.Counterexample):
        held = {live.name: Prefixes() for live in LIVE} | dict(result.live) | (live if told else {})
        assert matches(claim, result.facts, held)
        assert decide(chain, result.facts, held).verdict == result.decision.verdict != claim.verdict


PASS = "pass  fragments first-only"
POLICY = """
network ban = dynamic max 100
network listed = {{ 10.0.0.0/8, 2001:db8::/32 }}
policy p at {place} {{
  default {default}
  {rules}
}}
test "t" of p {{ {steps} }}
"""


def asked(
    rules: str, claim: str, place: str = 'xdp on "eth0"', default: str = PASS, steps: str = ""
) -> object:
    text = POLICY.format(place=place, default=default, rules=rules, steps=f"{steps} assert {claim}")
    unit = engines.load(text, {})
    (test,) = unit.tests
    (claimed,) = test.asserts
    return proof.check(unit.chains[0], claimed, test.given)


@pytest.mark.parametrize(
    ("rules", "claim"),
    [
        ("drop from listed", "drop from 10.1.0.0/16"),
        ("drop from ban", "drop from ban"),
        ("pass tcp to port 80 drop tcp", "drop tcp to port 1-79"),
        ("drop udp limit 1/s drop udp", "drop udp"),
        ("continue udp drop ip4 drop ip6", "drop udp"),
        ("drop udp to port 0-999 drop udp to port 1000-65535", "drop udp to port 5-5000"),
        ("drop tcp flags syn/syn,ack", "drop tcp flags syn/syn,ack,fin"),
        ("drop ip4 drop ip6", "drop ip"),
        ("drop from not 10.0.0.0/8", "drop from 11.0.0.0/8"),
    ],
)
def test_holds(rules: str, claim: str) -> None:
    assert asked(rules, claim) is None


@pytest.mark.parametrize(
    ("rules", "claim", "sentence"),
    [
        (
            "drop udp limit 1/s",
            "pass udp",
            "expect drop udp from 192.0.2.1 port 40000 to 198.51.100.1 port 80",
        ),
        ("drop from not 10.0.0.0/8", "drop tcp", "expect pass tcp from 2001:db8::1 port 40000"),
        ("drop tcp to port 22", "drop tcp to port 20-22", "port 20 flags syn by default"),
        (
            "drop icmp type 8",
            "drop icmp",
            "expect pass icmp from 192.0.2.1 to 198.51.100.1 type 0 by default",
        ),
        ("drop from ban", "pass tcp", "expect drop tcp from 8.8.8.8"),
    ],
)
def test_is_shown_wrong_by_a_sentence(rules: str, claim: str, sentence: str) -> None:
    example = asked(rules, claim)
    assert isinstance(example, proof.Counterexample)
    written = proof.sentence(example, "default" if example.decision.rule < 0 else "it")
    assert written is not None and sentence in written
    if not example.live:  # the sentence is one of the language, and says what it means
        text = POLICY.format(place='xdp on "eth0"', default=PASS, rules=f"it: {rules}", steps=written)
        assert engines.load(text, {}).tests[0].expects[0].verdict == example.decision.verdict


def test_given_contents_are_all_there_is() -> None:
    assert asked("drop from ban", "pass from 9.0.0.0/8", steps="given ban = 8.8.8.8") is None
    example = asked("drop from ban", "pass from 8.0.0.0/8", steps="given ban = 8.8.8.8")
    assert isinstance(example, proof.Counterexample) and example.facts["ip4.src"] == 0x08080808


def test_at_connect() -> None:
    place = 'connect for cgroup "/a"'
    assert asked("reject tcp to 10.0.0.0/8", "reject tcp to 10.0.0.0/24", place, "allow") is None
    example = asked("reject tcp to 10.0.0.0/8 port 1-79", "reject tcp to 10.0.0.0/24", place, "allow")
    assert isinstance(example, proof.Counterexample) and example.packet == "connect tcp 10.0.0.0:80"


def test_a_call_is_said_with_who_makes_it() -> None:
    place = 'connect for cgroup "/a"'
    rules, claim = 'reject tcp if sock.cgroup == "/a/b" and sock.uid == 5', "allow tcp"
    example = asked(rules, claim, place, "allow")
    assert isinstance(example, proof.Counterexample)
    assert example.packet == 'connect tcp 198.51.100.1:80 uid 5 cgroup "/a/b"'
    written = proof.sentence(example, "it")
    assert written == (
        'expect reject tcp to 198.51.100.1 port 80 if sock.uid == 5 and sock.cgroup == "/a/b" by it'
    )
    text = POLICY.format(place=place, default="allow", rules=f"it: {rules}", steps=written)
    unit = engines.load(text, {})
    (expect,) = unit.tests[0].expects
    assert (expect.verdict, expect.packet) == ("reject", packet.parse(example.packet, example.lists))


def test_a_cgroup_that_no_rule_names_is_the_nearest_above_it() -> None:
    place = 'connect for cgroup "/"'
    rules = 'reject tcp if sock.cgroup == "/shop/web"'
    assert asked(rules, 'reject tcp if sock.cgroup == "/shop/web/a"', place, "allow") is None
    assert asked(rules, 'allow tcp if sock.cgroup == "/shop-other"', place, "allow") is None
    assert asked(rules, 'allow tcp if sock.cgroup != "/shop"', place, "allow") is None
    for claim in ('allow tcp if sock.cgroup == "/shop"', 'reject tcp if sock.cgroup == "/shop"'):
        assert isinstance(asked(rules, claim, place, "allow"), proof.Counterexample)


def test_a_packet_is_said_with_where_it_arrived() -> None:
    example = asked('drop tcp if meta.iif in { "eth1", "eth2" }', 'pass tcp if meta.iif != "eth1"')
    assert isinstance(example, proof.Counterexample)
    assert example.packet.endswith('meta.iif "eth2"')
    written = proof.sentence(example, "it")
    assert written is not None and 'if meta.iif == "eth2" by it' in written


def test_too_much_work_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prove, "MAX_WORK", 3)
    assert isinstance(asked("drop udp to port 1 drop udp to port 2", "drop udp to port 3"), proof.Unproved)
