"""Data planes as records; what nftables refuses, and the text that it gets. Verdicts are the law's affair."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate import cli
from lockgate.compiler import targets
from lockgate.compiler.diagnostics import Diagnostic
from lockgate.compiler.driver import Session
from lockgate.compiler.nftables.words import flags_test
from lockgate.compiler.policy.model import Flags
from lockgate.compiler.targets.base import CAPABILITIES
from lockgate.stdlib_bpf import inventory_text, nft
from lockgate.stdlib_bpf.sets import IntervalSet
from tests import engines

POLICY = """
network ban = dynamic max 9
policy edge at tc on {devices} {{
  default {default}
  fragments {fragments}
  {direction} {{
    {rules}
  }}
}}
"""


def session(rules: str = "drop tcp", **parts: str) -> Session:
    made = Session(Path("edge.gate"))
    said = {"devices": '"eth0"', "default": "pass", "fragments": "first-only", "direction": "ingress"} | parts
    made._unit = engines.load(POLICY.format(rules=rules, **said), {})
    return made


def refused(made: Session) -> list[Diagnostic]:
    targets.ALL["nftables"].check(made)
    return made.sink.diagnostics


def written(rules: str) -> str:
    made = session(rules)
    assert refused(made) == []
    return targets.ALL["nftables"].build(made).decode()


def test_every_target_says_something_of_everything() -> None:
    for name, target in targets.ALL.items():
        assert name == target.name and tuple(target.capabilities) == CAPABILITIES
        assert all(target.capabilities.values())


def test_the_command_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["targets"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == targets.table()


RULES = {
    "reject tcp": "`reject`",
    'redirect tcp into "eth1" as neighbour': "`as neighbour`",
    'mirror tcp into "eth1" as ingress': "`as ingress`",
    "drop tcp limit 8kbps": "a limit in bits a second",
    "drop tcp limit 5/s per flow": "`per flow`",
    "drop if ip6.auth": "a test of `ip6.auth`",
    "drop if ip6.mobility": "a test of `ip6.mobility`",
    "drop if eth.type == 5": "a test of EtherTypes below 0x600",
}


@pytest.mark.parametrize("rule", RULES)
def test_what_nftables_cannot_say_is_refused_at_its_rule(rule: str) -> None:
    (found,) = refused(session(rule))
    assert found.code == "E0710" and RULES[rule] in found.message
    assert found.labels[0].span.text == rule


@pytest.mark.parametrize(
    ("earlier", "rule", "what"),
    [
        ("continue tcp mark 5", "drop if meta.mark == 5", "a test of `meta.mark` behind a rule that sets it"),
        (
            "continue tcp dscp ef",
            "drop if ip.dscp == ef",
            "a test of `ip.dscp` behind a rule that rewrites it",
        ),
        ("continue tcp dscp ef", 'mirror udp into "eth1"', "a copy of a packet whose DSCP a rule rewrites"),
    ],
)
def test_a_rule_may_see_what_an_earlier_one_changed(earlier: str, rule: str, what: str) -> None:
    (found,) = refused(session(f"{earlier}\n    {rule}"))
    assert what in found.message and found.labels[0].span.text == rule
    assert refused(session(f"{rule}\n    {earlier}")) == [] or "copy" not in what


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        ({"devices": '"tap*"'}, "by the pattern `tap*`"),
        ({"fragments": "track"}, "`fragments track`"),
        ({"default": "reject"}, "`default reject`"),
    ],
)
def test_what_a_policy_as_a_whole_says_is_refused(parts: dict[str, str], what: str) -> None:
    (found,) = refused(session(**parts))
    assert found.code == "E0710" and what in found.message


def test_where_a_packet_arrived_is_not_known_at_egress() -> None:
    (found,) = refused(session('drop if meta.iif == "eth1"', direction="egress"))
    assert "`meta.iif` at egress" in found.message


def test_calls_are_refused() -> None:
    made = Session(Path("edge.gate"))
    made._unit = engines.load('policy p at connect for cgroup "/a" { default allow }', {})
    (found,) = refused(made)
    assert "judge at connect" in found.message


def test_the_file_names_rules_and_says_no_more_than_is_asked() -> None:
    text = written("ssh: drop tcp from 10.0.0.0/8 + ban to port 22 count probes log")
    assert text.startswith("# lockgate: name policy\n")
    assert 'counter edge.ingress/ssh { comment "rule ssh: drop, policy.gate:7"; }' in text
    rule = 'counter name "edge.ingress/ssh" counter name "edge.ingress/count-probes"'
    log = 'log prefix "lockgate edge.ingress ssh: " drop'
    assert f"    ip protocol 6 ip saddr 10.0.0.0/8 th dport 22 {rule} {log}\n" in text
    assert f"    ip protocol 6 ip saddr @ban-4 th dport 22 {rule} {log}\n" in text
    assert f"    meta l4proto 6 ip6 saddr @ban-6 th dport 22 {rule} {log}\n" in text
    assert "chain edge.ingress.arp" not in text
    assert text.count("th dport 22") == 3, "no port is asked of later fragments"


def test_the_same_input_gives_the_same_file() -> None:
    rules = "drop tcp from ban to port { 1, 5, 9, 70-90, 700 }\n    drop arp if arp.op == reply"
    assert written(rules) == written(rules)


@pytest.mark.parametrize("value", range(0, 256, 17))
@pytest.mark.parametrize("mask", (None, 0x12, 0x3F, 0xFF))
def test_flags_are_asked_by_a_mask(value: int, mask: int | None) -> None:
    test = Flags(value if mask is None else value & mask, mask)
    values = IntervalSet.of(*(flags for flags in range(256) if test.matches(flags)))
    if values and values != IntervalSet.full(8):
        assert flags_test(values).startswith("tcp flags & ")


def test_other_sets_of_flags_are_listed() -> None:
    assert flags_test(IntervalSet.of(1, 2, (9, 11))) == "@th,104,8 { 0x01-0x02, 0x09-0x0b }"


@pytest.mark.parametrize(
    "counter",
    [
        nft.Counter("edge", "rule", "ssh", "drop", "edge.gate", 7),
        nft.Counter("edge", "rule", "a, b.gate:12", "pass", "a, b.gate", 12),
        nft.Counter("edge", "default", "default", "pass"),
        nft.Counter("edge", "count", "probes", ""),
    ],
)
def test_a_counter_says_whose_it_is(counter: nft.Counter) -> None:
    assert nft.read(f"{counter.chain}/any", counter.comment) == counter


def test_a_comment_that_is_too_long_loses_its_place() -> None:
    counter = nft.Counter("edge", "rule", "r", "drop", "x" * 200, 7)
    assert counter.comment == "rule r: drop"
    cut = nft.Counter("edge", "rule", "ü" * 100 + ".gate:7", "drop").comment
    assert cut == f"rule {'ü' * 58}: drop" and len(cut.encode()) <= nft.MAX_COMMENT
    assert nft.read("edge/r", "something else") is None and nft.read("edge", counter.comment) is None


# ---- endpoints ----

PODS = """
{before}
policy a for [app=a] {{
  state {state}
  ingress {{ {rule} }}
}}
"""
PEOPLE = """
endpoints:
  - {{ name: a, labels: {{ app: a }}, addresses: [ 10.0.0.1 ], interface: {first} }}
  - {{ name: b, labels: {{ app: b }}, addresses: [ 10.0.0.2 ], interface: {second} }}
"""


def pods(
    rule: str = "allow tcp", state: str = "strict", people: str | None = "veth0 veth1", before: str = ""
) -> Session:
    made = Session(Path("pods.gate"))
    made._unit = engines.load(PODS.format(rule=rule, state=state, before=before), {})
    if people is not None:
        first, second = people.split()
        made._inventory = inventory_text.read(PEOPLE.format(first=first, second=second))
    return made


UNSAID: dict[str, Session] = {
    "policies for labels": pods(people=None),
    "devices in several": pods(people="one/veth0 two/veth1"),
    "`state off`": pods(state="off"),
    "`forward fast`": pods(before="forward fast"),
    "a test of `eth.src` at an endpoint": pods("allow if eth.src == 02:00:00:00:00:01"),
    "a test of `ip.fragment` at an endpoint": pods("allow if ip.fragment == first"),
}


@pytest.mark.parametrize("what", UNSAID)
def test_what_nftables_cannot_say_of_endpoints_is_refused(what: str) -> None:
    (found,) = refused(UNSAID[what])
    assert found.code == "E0710" and what in found.message


def test_who_is_judged_alike_shares_chains() -> None:
    made = pods("allow tcp from [app=b]")
    assert refused(made) == []
    text = targets.ALL["nftables"].build(made).decode()
    assert 'oifname vmap { "veth0" : goto endpoints.ingress-1 }' in text
    assert "iifname vmap" not in text, "nothing is said of what they send"
    assert 'ip protocol 6 ip saddr 10.0.0.2 counter name "endpoints/rule-0" return' in text
