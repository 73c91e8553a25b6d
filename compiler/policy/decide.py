"""What a policy means: THE reference that every other stage must agree with.

The first rule that matches and decides wins, else the default; rules that match and let the packet go on
leave their trace. A rule whose limit is exhausted does not match. A condition on a field that the packet
lacks is false, in both directions: `not NETWORK` is false too where the packet has no address of the families
that NETWORK speaks of. Nothing here rests on set algebra beyond membership.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lockgate.stdlib_bpf import hooks
from lockgate.stdlib_bpf.decode.frame import Facts, Malformed
from lockgate.stdlib_bpf.fields import DIRECTIONS, IP, IPPROTO_ICMP, IPPROTO_ICMPV6, end_of, selected_field
from lockgate.stdlib_bpf.state.fragments import Fragment
from lockgate.stdlib_bpf.state.limits import Buckets

from ..decision import DEFAULT, Decision, Seen, before_rules
from .families import families
from .model import (
    AllOf,
    AnyOf,
    Chain,
    FieldTest,
    Live,
    Minus,
    Network,
    Not,
    Prefixes,
    Rule,
    Selected,
    Traffic,
    Union,
    Where,
)

ICMP_TYPE_OF = {IPPROTO_ICMP: "icmp.type", IPPROTO_ICMPV6: "icmp6.type"}
NOTHING = Prefixes()


def decide(
    chain: Chain, facts: Seen, live: Mapping[str, Prefixes], buckets: Buckets | None = None
) -> Decision:
    """Decide one packet or socket call. `live`: contents of dynamic sets by name; absent means empty.
    `buckets`: of the chain's limits, which the packet takes from; None for full ones."""
    hook = hooks.ALL[chain.hook]
    if isinstance(facts, Malformed | Fragment):
        return before_rules(facts, chain.hook)
    buckets = Buckets() if buckets is None else buckets
    passed: list[int] = []
    following = 0  # index of the first rule that may be tried
    for index, rule in enumerate(chain.rules):
        if index < following or not matches(rule, facts, live):
            continue
        if rule.limit is not None and not buckets.admit(index, rule.limit, facts):
            continue
        if rule.verdict not in hook.passing:
            return Decision(rule.verdict, index, tuple(passed))
        passed.append(index)
        following = index + 1 if rule.resume is None else rule.resume
    return Decision(chain.default, DEFAULT, tuple(passed))


def matches(rule: Rule, facts: Facts, live: Mapping[str, Prefixes]) -> bool:
    """Whether every part of a rule holds."""
    return (
        any(_is(traffic, facts) for traffic in rule.traffic)
        and (rule.effects.dscp is None or facts.get("eth.type", -1) in IP)
        and (rule.src is None or _address_in(rule.src, "src", rule.direction, facts, live))
        and (rule.dst is None or _address_in(rule.dst, "dst", rule.direction, facts, live))
        and (rule.sports is None or facts.get("th.sport", -1) in rule.sports)
        and (rule.dports is None or facts.get("th.dport", -1) in rule.dports)
        and (rule.flags is None or ("tcp.flags" in facts and rule.flags.matches(facts["tcp.flags"])))
        and (rule.where is None or holds(rule.where, facts))
        and (not rule.direction or facts.get("flow.direction") == DIRECTIONS.index(rule.direction))
    )


def holds(condition: Where, facts: Facts) -> bool:
    """Whether a condition holds; a test of a field that the packet lacks does not."""
    match condition:
        case FieldTest(field, values):
            return field in facts and facts[field] in values
        case AllOf(items):
            return all(holds(item, facts) for item in items)
        case AnyOf(items):
            return any(holds(item, facts) for item in items)


def _is(traffic: Traffic, facts: Facts) -> bool:
    icmp_type = facts.get(ICMP_TYPE_OF.get(facts.get("ip.proto", -1), ""), -1)
    return (
        (traffic.eth_types is None or facts.get("eth.type", -1) in traffic.eth_types)
        and (traffic.protocols is None or facts.get("ip.proto", -1) in traffic.protocols)
        and (traffic.ports is None or facts.get("th.dport", -1) in traffic.ports)
        and (traffic.icmp_types is None or icmp_type in traffic.icmp_types)
    )


def _address_in(
    network: Network, side: str, direction: str, facts: Facts, live: Mapping[str, Prefixes]
) -> bool:
    end = end_of(side, direction)

    def takes(number: int) -> bool:
        return bool(facts.get(selected_field(end, number)))

    for family in (4, 6):
        address = facts.get(f"ip{family}.{side}")
        if address is not None:
            return contains(network, family, address, live, takes)
    return False


def _takes_nobody(_: int) -> bool:
    return False


def contains(
    network: Network,
    family: int,
    address: int,
    live: Mapping[str, Prefixes],
    takes: Callable[[int], bool] = _takes_nobody,
) -> bool:
    """Whether an address of that family (4 or 6) lies in a network. `takes`: whether a selection takes the
    endpoint that has the address."""

    def inside(part: Network) -> bool:
        return contains(part, family, address, live, takes)

    match network:
        case Selected(number):
            return takes(number)
        case Prefixes(v4, v6):
            return address in (v4 if family == 4 else v6)
        case Live(name, _):
            return contains(live.get(name, NOTHING), family, address, {})
        case Union(left, right):
            return inside(left) or inside(right)
        case Minus(left, right):
            return inside(left) and not inside(right)
        case Not(operand):
            return family in families(operand) and not inside(operand)
