"""Lowering to matches keeps the meaning, judged by a reader of the policy model that knows no set algebra."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.compiler.decision import DEFAULT, Decision
from lockgate.compiler.match import lower as match_lower
from lockgate.compiler.match import run as match_run
from lockgate.compiler.match.verify import verify
from lockgate.compiler.policy import decide
from lockgate.compiler.policy.model import (
    AllOf,
    Chain,
    FieldTest,
    Live,
    Minus,
    Network,
    Not,
    Prefixes,
    Rule,
    Traffic,
    Union,
    Where,
)
from lockgate.stdlib_bpf.decode.frame import Facts
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state.limits import Buckets

from .programs import chains, contents, facts

Contents = dict[str, Prefixes]


def families(network: Network) -> set[int]:
    match network:
        case Prefixes(v4, v6):
            return ({4} if v4 else set()) | ({6} if v6 else set())
        case Live():
            return {4, 6}
        case Union(left, right):
            return families(left) | families(right)
        case Minus(operand, _) | Not(operand):
            return families(operand)


def has(network: Network, family: int, address: int, live: Contents) -> bool:
    match network:
        case Prefixes(v4, v6):
            return address in (v4 if family == 4 else v6)
        case Live(name, _):
            return has(live[name], family, address, live)
        case Union(left, right):
            return has(left, family, address, live) or has(right, family, address, live)
        case Minus(left, right):
            return has(left, family, address, live) and not has(right, family, address, live)
        case Not(operand):
            return family in families(operand) and not has(operand, family, address, live)


def address_fits(network: Network | None, side: str, packet: Facts, live: Contents) -> bool:
    if network is None:
        return True
    return any(
        (name := f"ip{family}.{side}") in packet and has(network, family, packet[name], live)
        for family in (4, 6)
    )


def fits(values: IntervalSet | None, field: str, packet: Facts) -> bool:
    return values is None or (field in packet and packet[field] in values)


def traffic_fits(traffic: Traffic, packet: Facts) -> bool:
    icmp = traffic.icmp_types
    return (
        fits(traffic.eth_types, "eth.type", packet)
        and fits(traffic.protocols, "ip.proto", packet)
        and fits(traffic.ports, "th.dport", packet)
        and (icmp is None or any(f in packet and packet[f] in icmp for f in ("icmp.type", "icmp6.type")))
    )


def rule_fits(rule: Rule, packet: Facts, live: Contents) -> bool:
    flags = rule.flags
    return (
        any(traffic_fits(traffic, packet) for traffic in rule.traffic)
        and address_fits(rule.src, "src", packet, live)
        and address_fits(rule.dst, "dst", packet, live)
        and fits(rule.sports, "th.sport", packet)
        and fits(rule.dports, "th.dport", packet)
        and (flags is None or ("tcp.flags" in packet and flags.matches(packet["tcp.flags"])))
        and (rule.where is None or condition_fits(rule.where, packet))
    )


def condition_fits(condition: Where, packet: Facts) -> bool:
    if isinstance(condition, FieldTest):
        return fits(condition.values, condition.field, packet)
    each = [condition_fits(item, packet) for item in condition.items]
    return all(each) if isinstance(condition, AllOf) else any(each)


@given(chains(), st.lists(facts(), min_size=8, max_size=25), contents())
@settings(deadline=None)
def test_lowering_keeps_the_meaning(chain: Chain, packets: list[Facts], live: Contents) -> None:
    program = match_lower.lower(chain)
    verify(program)
    buckets, same_buckets, reference_buckets = Buckets(), Buckets(), Buckets()
    for packet in packets:
        expected = Decision(chain.default, DEFAULT)
        skipped: range | tuple[()] = ()
        for i, rule in enumerate(chain.rules):
            if i in skipped or not rule_fits(rule, packet, live):
                continue
            if rule.limit is not None and not buckets.admit(i, rule.limit, packet):
                continue
            if rule.verdict != "continue":
                expected = Decision(rule.verdict, i, expected.passed)
                break
            expected = Decision(chain.default, DEFAULT, (*expected.passed, i))
            skipped = range(i, rule.resume or i)
        assert match_run.run(program, packet, live, same_buckets) == expected
        assert decide(chain, packet, live, reference_buckets) == expected
