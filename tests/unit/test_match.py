from __future__ import annotations

import pytest

from lockgate.compiler.decision import DEFAULT, MALFORMED, Decision
from lockgate.compiler.irtext import IrSyntaxError
from lockgate.compiler.match.coverage import covered_rules
from lockgate.compiler.match.lower import lower
from lockgate.compiler.match.passes import PASSES
from lockgate.compiler.match.run import run
from lockgate.compiler.match.text import read, write
from lockgate.compiler.match.verify import VerifyError, verify
from lockgate.compiler.pipeline import Level, Pipeline
from lockgate.compiler.policy.model import (
    Chain,
    Flags,
    Live,
    Minus,
    Network,
    Not,
    Prefixes,
    Rule,
    Traffic,
    Union,
)
from lockgate.compiler.source import Source, Span
from lockgate.stdlib_bpf.decode.frame import Malformed
from lockgate.stdlib_bpf.sets import EMPTY, IntervalSet

SOURCE = Source("edge.gate", "policy\n  rule\n")
SPAN = Span(SOURCE, 9, 13)
TEN = Prefixes(IntervalSet.of((10 << 24, (11 << 24) - 1)))
ONE = Prefixes(IntervalSet.of(10 << 24 | 1))
DOC = Prefixes(EMPTY, IntervalSet.of(0x20010DB8 << 96))
ANY = Prefixes(IntervalSet.full(32), IntervalSet.full(128))
BAN = Live("ban", 1000)
TCP = (Traffic(protocols=IntervalSet.of(6)),)
HEAD = 'matches "edge" at xdp default pass\n'
RULES = 'rule 0 "a" drop "edge.gate" 1 1\nrule 1 "b" pass "edge.gate" 2 1\nrule 2 "c" drop "edge.gate" 3 1\n'


def lowered(*rules: Rule) -> list[str]:
    """Tests of each match, as text."""
    program = lower(Chain("edge", "xdp", "", ("eth0",), "pass", rules, SPAN))
    verify(program)
    lines = write(program).splitlines()
    return [line.partition("when ")[2] for line in lines if line.startswith("match ")]


def of_source(network: Network) -> list[str]:
    return lowered(Rule(SPAN, "drop", src=network))


def test_ports_bring_their_guards() -> None:
    assert lowered(Rule(SPAN, "drop", dports=IntervalSet.of((80, 81)))) == [
        "eth.type {0x0800, 0x86dd} ip.proto {6, 17, 132} th.dport {80-81}"
    ]


def test_a_protocol_narrows_the_guard() -> None:
    assert lowered(Rule(SPAN, "drop", traffic=TCP, sports=IntervalSet.of(22))) == [
        "eth.type {0x0800, 0x86dd} ip.proto {6} th.sport {22}"
    ]


def test_a_contradiction_leaves_no_match() -> None:
    udp = (Traffic(protocols=IntervalSet.of(17)),)
    assert lowered(Rule(SPAN, "drop", traffic=udp, flags=Flags(2))) == []
    assert lowered(Rule(SPAN, "drop", src=TEN, dst=DOC)) == []


def test_an_empty_rule_takes_every_packet() -> None:
    assert lowered(Rule(SPAN, "drop")) == [""]


def test_any_is_presence_of_an_address_in_either_family() -> None:
    assert of_source(ANY) == ["eth.type {0x0800} ip4.src {0.0.0.0/0}", "eth.type {0x86dd} ip6.src {::/0}"]


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (Not(TEN), ["eth.type {0x0800} ip4.src {0.0.0.0-9.255.255.255, 11.0.0.0-255.255.255.255}"]),
        (Minus(TEN, BAN), ["eth.type {0x0800} ip4.src {10.0.0.0/8} ip4.src@ban {0}"]),
        (
            Union(TEN, BAN),
            [
                "eth.type {0x0800} ip4.src {10.0.0.0/8}",
                "eth.type {0x0800} ip4.src {0.0.0.0/0} ip4.src@ban {1}",
                "eth.type {0x86dd} ip6.src {::/0} ip6.src@ban {1}",
            ],
        ),
        (Union(TEN, ONE), ["eth.type {0x0800} ip4.src {10.0.0.0/8}"]),
        (Not(Minus(ONE, ONE)), ["eth.type {0x0800} ip4.src {0.0.0.0/0}"]),
        (Minus(BAN, BAN), []),
        (
            Not(BAN),
            [
                "eth.type {0x0800} ip4.src {0.0.0.0/0} ip4.src@ban {0}",
                "eth.type {0x86dd} ip6.src {::/0} ip6.src@ban {0}",
            ],
        ),
    ],
)
def test_networks(network: Network, expected: list[str]) -> None:
    assert of_source(network) == expected


def test_icmp_types_follow_the_protocol() -> None:
    ping = Traffic(protocols=IntervalSet.of(1), icmp_types=IntervalSet.of(8))
    ping6 = Traffic(protocols=IntervalSet.of(58), icmp_types=IntervalSet.of(128))
    assert lowered(Rule(SPAN, "drop", traffic=(ping, ping6))) == [
        "eth.type {0x0800} ip.proto {1} icmp.type {8}",
        "eth.type {0x86dd} ip.proto {58} icmp6.type {128}",
    ]


def test_rules_carry_place_and_options() -> None:
    rule = Rule(SPAN, "drop", name="block", count="hits", sample=1)
    text = write(lower(Chain("edge", "tc", "ingress", ("eth0",), "pass", (rule,), SPAN)))
    assert text == (
        'matches "edge.ingress" at tc ingress default pass\n'
        'rule 0 "block" drop "edge.gate" 2 3 name "block" count "hits" log\n'
        "match 0 from 0\n"
    )
    assert write(read(text)) == text


@pytest.mark.parametrize(
    ("match", "message"),
    [
        ("match 3 from 3", "its rule does not exist"),
        ("match 0 from 1", "origins must be ascending and name the rule"),
        ("match 0 from 0 when eth.type {}", "the set of eth.type is empty"),
        ("match 0 from 0 when eth.type {0x10000}", "eth.type has values of more than 16 bits"),
        ("match 0 from 0 when ip.proto {6}", "eth.type is not held within its guard"),
        ("match 0 from 0 when eth.type {7} ip.proto {6}", "eth.type is not held within its guard"),
        ("match 0 from 0 when eth.type {0x0800} th.dport {80}", "ip.proto is not held within its guard"),
        ("match 0 from 0 when eth.type {0x0800} ip4.src@ban {1}", "the dynamic set `ban` is not declared"),
        ("match 0 from 0 when ip.proto {6} eth.type {0x0800}", "in the order of the field table"),
        ("match 0 from 0 when l4.proto {6}", "there is no field `l4.proto` in this IR"),
        ("match 0 from 0 when tcp.seq {6}", "there is no field `tcp.seq` in this IR"),
    ],
)
def test_the_verifier_says_what_is_wrong(match: str, message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        verify(read(HEAD + RULES + match))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD.replace("xdp", "xpd"), "there is no hook `xpd`"),
        (HEAD.replace("pass", "allow"), "the hook xdp has no verdict `allow`"),
        (HEAD.replace("xdp", "xdp ingress"), "the hook xdp has no direction `ingress`"),
        ('matches "c" at connect default allow\nrule 0 "a" allow "x" 1 1\n'
         "match 0 from 0 when eth.type {0x0800} ip4.src {10.0.0.1}", "ip4.src does not exist at connect"),
    ],
)  # fmt: skip
def test_the_verifier_knows_the_hook(text: str, message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        verify(read(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no line begins with `matches`"),
        (
            HEAD + "march 0",
            "line 2: expected matches, live, device, cgroup, selection, rule or match, found `march`",
        ),
        (HEAD + "match 0 from 0 when eth.type {0x0800,", "line 2: the line ends too early"),
        (HEAD + "match 0 from 0 when ip4.src {10.0.0}", "line 2: `10.0.0` is not a value or range"),
        (HEAD + 'live "ban', "line 2: cannot read"),
        (HEAD + 'live "ban" many', "line 2: `many` is not a number"),
        (HEAD + 'rule 1 "a" drop "f" 1 1', "line 2: expected `0`, found `1`"),
    ],
)
def test_bad_text_names_the_line(text: str, message: str) -> None:
    with pytest.raises(IrSyntaxError, match=message):
        read(text)


def optimised(matches: str) -> str:
    level = Level("match", verify, write)
    return write(Pipeline(level, PASSES).run(read(HEAD + RULES + matches)).ir)


def test_neighbours_of_one_rule_merge() -> None:
    both = "match 0 from 0 when eth.type {0x0800, 0x86dd} ip.proto {%s} th.dport {53}\n"
    assert optimised(both % "6" + both % "17") == HEAD + RULES + both % "6, 17"


def test_neighbours_of_two_rules_stay_apart() -> None:
    text = "match 0 from 0 when eth.type {0x0806}\nmatch 1 from 1 when eth.type {0x0807}\n"
    assert optimised(text) == HEAD + RULES + text


def test_a_match_under_a_union_goes() -> None:
    half = "match %d from %d when eth.type {0x0800} ip4.src {%s}\n"
    first = half % (0, 0, "10.0.0.0/9") + half % (1, 1, "10.128.0.0/9")
    text = first + half % (2, 2, "10.64.0.0-10.200.0.0")
    assert optimised(text) == HEAD + RULES + first
    assert covered_rules(read(HEAD + RULES + text)) == [(2, (0, 1))]


def test_both_answers_of_a_dynamic_set_cover_an_address() -> None:
    test = "match %d from %d when eth.type {0x0800} ip4.src {0.0.0.0/0}%s\n"
    text = test % (0, 0, " ip4.src@ban {1}") + test % (1, 1, " ip4.src@ban {0}") + test % (2, 2, "")
    assert covered_rules(read(HEAD + 'live "ban" 5\n' + RULES + text)) == [(2, (0, 1))]


def test_an_address_of_its_family_is_never_missing() -> None:
    ip4 = "eth.type {0x0800}"
    text = f"match 0 from 0 when {ip4} ip4.src {{0.0.0.0/0}}\nmatch 1 from 1 when {ip4}\n"
    assert covered_rules(read(HEAD + RULES + text)) == [(1, (0,))]


def test_ports_may_be_missing() -> None:
    tcp = "eth.type {0x0800} ip.proto {6}"
    text = f"match 0 from 0 when {tcp} th.dport {{0-65535}}\nmatch 1 from 1 when {tcp}\n"
    assert covered_rules(read(HEAD + RULES + text)) == []


def test_running() -> None:
    program = read(HEAD + 'live "ban" 5\n' + RULES + "match 0 from 0 when eth.type {0x0800} ip4.src@ban {1}")
    packet = {"eth.type": 0x0800, "ip4.src": 10 << 24 | 1}
    assert run(program, packet, {"ban": ONE}) == Decision("drop", 0)
    assert run(program, packet, {}) == Decision("pass", DEFAULT)
    assert run(program, {"eth.type": 0x0806}, {"ban": ONE}) == Decision("pass", DEFAULT)
    assert run(program, Malformed("cut"), {}) == Decision("drop", MALFORMED)


def test_rules_that_name_one_network_share_its_sets() -> None:
    """Else a thousand rules about one large list would each hold it, and every stage look at each."""
    wide = Union(TEN, DOC)
    rules = (Rule(SPAN, "drop", src=wide), Rule(SPAN, "pass", src=wide, dports=IntervalSet.of(80)))
    matches = lower(Chain("edge", "xdp", "", ("eth0",), "pass", rules, SPAN)).matches
    first, second = (next(m for m in matches if m.rule == rule) for rule in (0, 1))
    assert first.get("ip4.src") is second.get("ip4.src") is not None
