"""Policies for endpoints as one rule list: what is asked of whom, in which order, and what leads where."""

from __future__ import annotations

from lockgate.compiler.match import text
from lockgate.compiler.match.lower import lower
from lockgate.compiler.policy import decide
from lockgate.compiler.policy.model import Chain
from lockgate.stdlib_bpf.decode.frame import Facts
from lockgate.stdlib_bpf.labels import HOST, WORKLOAD
from lockgate.stdlib_bpf.state.flows import STATELESS

from .front import said, unit

TIERED = """tiers first > second > third
policy early for [app=a] { tier first  ingress { pass udp  drop tcp to port 22 } }
policy b for [app=a] { tier second  default drop  ingress { web: allow tcp to port 80 } }
policy a for [app=a] { tier second  order 7  ingress { drop tcp to port 80 if ip.ttl == 1 } }
policy rest for [] { tier third  state loose  ingress { allow tcp to port 22  allow udp } egress { allow } }
"""


def endpoints(text: str) -> Chain:
    (chain,) = unit(text).chains
    return chain


def facts(
    chain: Chain, labels: dict[str, str], *, direction: int = 0, kind: str = WORKLOAD, **more: int
) -> Facts:
    """A TCP SYN to port 80 of an endpoint with these labels, from nobody's address."""
    packet = {"eth.type": 0x0800, "ip.proto": 6, "ip4.src": 1, "ip4.dst": 2, "ip.ttl": 64}
    packet |= {"th.sport": 40000, "th.dport": 80, "tcp.flags": 2}
    packet |= {"flow.direction": direction, "flow.opens": 1}
    for number, selection in enumerate(chain.selections):
        packet |= {f"subject#{number}": int(selection.takes(kind, labels, {})), f"peer#{number}": 0}
    return packet | {name.replace("_", "."): value for name, value in more.items()}


def judged(chain: Chain, packet: Facts) -> tuple[str, str]:
    found = decide(chain, packet, {})
    return found.verdict, chain.rules[found.rule].label if found.rule >= 0 else "default"


def test_tiers_orders_and_names_decide_who_is_asked_first() -> None:
    chain = endpoints(TIERED)
    assert [(s.tier, s.policy, s.direction) for s in chain.sections if s.policy] == [
        ("first", "early", "ingress"),
        ("second", "a", "ingress"),
        ("second", "b", "ingress"),
        ("third", "rest", "ingress"),
        ("third", "rest", "egress"),
    ]
    label = {"app": "a"}
    assert judged(chain, facts(chain, label)) == ("allow", "b.web")
    assert judged(chain, facts(chain, label, ip_ttl=1)) == ("drop", "p.gate:4")
    assert judged(chain, facts(chain, label, th_dport=22)) == ("drop", "p.gate:2")
    assert judged(chain, facts(chain, label, th_dport=23)) == ("drop", "second.default.ingress")


def test_how_packets_are_forwarded_is_said_once() -> None:
    assert endpoints(TIERED).forward == "stack"
    assert endpoints(f"{TIERED}forward fast\n").forward == "fast"
    assert said(f"{TIERED}forward quick\n") == [("E0202", "quick")]
    assert said(f"{TIERED}forward fast\nforward stack\n") == [("E0302", "forward stack")]
    (chain,) = unit('import "b.gate" as here\n' + TIERED, b_gate=b"forward fast\n").chains
    assert chain.forward == "fast"
    program = lower(chain)
    assert text.read(text.write(program)).forward == "fast"


def test_pass_leaves_the_tier() -> None:
    chain = endpoints(TIERED)
    udp = facts(chain, {"app": "a"}, ip_proto=17)
    assert decide(chain, udp, {}).passed == (0,)
    assert judged(chain, udp) == ("drop", "second.default.ingress")
    leaping = endpoints(TIERED.replace("default drop", "default pass"))
    assert judged(leaping, facts(leaping, {"app": "a"}, ip_proto=17)) == ("allow", "p.gate:5")


def test_what_passes_a_tier_is_not_for_its_default_and_undecided_at_the_end() -> None:
    chain = endpoints("policy a for [app=a] { default allow  ingress { pass tcp } }")
    assert judged(chain, facts(chain, {"app": "a"})) == ("drop", "undecided.ingress")
    assert judged(chain, facts(chain, {"app": "a"}, ip_proto=17)) == ("allow", "default.ingress")


def test_a_tiers_default_is_for_whom_it_selects_in_that_direction() -> None:
    chain = endpoints(TIERED)
    assert judged(chain, facts(chain, {}, th_dport=22)) == ("allow", "p.gate:5")
    assert judged(chain, facts(chain, {})) == ("drop", "undecided.ingress")
    assert judged(chain, facts(chain, {"app": "a"}, direction=1))[0] == "allow"
    assert judged(chain, facts(chain, {}, kind=HOST)) == ("allow", "default")


def test_a_strict_policy_allows_what_opens_a_flow() -> None:
    chain = endpoints(TIERED)
    ack = facts(chain, {"app": "a"}, flow_opens=0)
    assert judged(chain, ack) == ("drop", "second.default.ingress")
    loose = facts(chain, {}, flow_opens=0, th_dport=22)
    assert judged(chain, loose) == ("allow", "p.gate:5")


def test_a_policy_in_audit_decides_nothing_and_ends_where_it_would_have_decided() -> None:
    text = """policy a for [app=a] { mode audit  ingress { one: drop tcp  two: drop tcp to port 80 } }
policy b for [] { ingress { three: allow tcp } }
"""
    chain = endpoints(text)
    found = decide(chain, facts(chain, {"app": "a"}), {})
    assert (found.verdict, chain.rules[found.rule].label) == ("allow", "b.three")
    assert [chain.rules[i].label for i in found.passed] == ["a.one"]


def test_a_failsafe_comes_first_and_takes_answers_of_connections() -> None:
    text = """failsafe for hosts [] { ingress { allow tcp to port 22 } }
policy none for hosts [] { ingress { drop } egress { drop } }
"""
    chain = endpoints(text)
    assert judged(chain, facts(chain, {}, kind=HOST, th_dport=22, flow_opens=0))[0] == "allow"
    answer = facts(chain, {}, kind=HOST, direction=1, th_sport=22, flow_opens=0)
    assert judged(chain, answer) == ("allow", "answers of p.gate:1")
    assert judged(chain, answer | {"flow.opens": 1})[0] == "drop"
    assert chain.rules[decide(chain, answer, {}).rule].lasts == STATELESS


def test_equal_selections_share_a_number_and_namespaces_are_written_in_two_ways() -> None:
    text = """network n = { [b=2, a=1], nodes }
policy p for [a=1, b=2] { ingress { allow from [a in { 1 }, b=2]  allow from n  allow from [ns.team=x] } }
policy q for []ns[team=x] { ingress { allow } }
"""
    chain = endpoints(text)
    assert [s.text for s in chain.selections[:3]] == [
        '[a="1", b="2"] or host []',
        '[a="1", b="2"]',
        "[]ns[team=x]",
    ]
    assert len({s.selection for s in chain.sections}) == 3
