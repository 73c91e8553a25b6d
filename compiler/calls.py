"""Whether what tests say of a balancer holds: the reference, asked about one call, or about all that differ.

A balancer looks at protocol, address, port and cgroup, and only asks whether each is one of a few. So of the
calls that a sentence describes it is enough to look at those at the ends of its ranges, and at and beside
what is declared: between two of them nothing changes. A sentence that names no cgroup is about callers that
are exempt nowhere.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from itertools import product

from lockgate.stdlib_bpf.balance.reference import Answer, answer
from lockgate.stdlib_bpf.balance.services import selection_place
from lockgate.stdlib_bpf.decode.sock_addr import AF_INET, AF_INET6, SocketCall, decode
from lockgate.stdlib_bpf.sets import IntervalSet

from .policy.decide import matches
from .policy.model import (
    AllOf,
    AnyOf,
    Balancer,
    FieldTest,
    Live,
    Minus,
    Network,
    Not,
    Prefixes,
    Rule,
    Selected,
    Union,
    Where,
)

PORTS, PROTOCOLS = 0xFFFF, 0xFF


def answered(balancer: Balancer, call: SocketCall, selections: Iterable[int] = ()) -> Answer:
    """What a balancer makes of a call. `selections`: that take the caller."""
    address = (ipaddress.IPv4Address if call.family == AF_INET else ipaddress.IPv6Address)(call.address)
    places = {call.cgroup, *(selection_place(len(balancer.cgroups), n) for n in selections)} - {0}
    return answer(balancer.services, call.protocol, str(address), call.port, places)


def refuted(balancer: Balancer, rule: Rule) -> tuple[SocketCall, Answer] | None:
    """A call that a sentence describes and that gets another verdict; None when there is none."""
    for call in _calls(balancer, rule):
        got = answered(balancer, call)
        if got.verdict != rule.verdict and matches(rule, decode(call), {}):
            return call, got
    return None


def text(balancer: Balancer, call: SocketCall) -> str:
    """A call as `lockgate eval` takes it."""
    address = (ipaddress.IPv4Address if call.family == AF_INET else ipaddress.IPv6Address)(call.address)
    where = f"{address}:{call.port}" if call.family == AF_INET else f"[{address}]:{call.port}"
    names = {6: "tcp", 17: "udp"}
    who = f" cgroup {balancer.cgroups[call.cgroup - 1]}" if call.cgroup else ""
    return f"connect {names.get(call.protocol, f'protocol {call.protocol}')} {where}{who}"


def _calls(balancer: Balancer, rule: Rule) -> Iterator[SocketCall]:
    """One call of each kind that a balancer tells apart, and those at the ends of what the rule says."""
    vips = [ipaddress.ip_address(vip) for service in balancer.services for vip in service.vips]
    ports = {front.port for service in balancer.services for front in service.fronts}
    ports |= {end for values in (rule.dports, *(t.ports for t in rule.traffic)) for end in _ends(values)}
    protocols = {6, 17, 1, 58} | {end for t in rule.traffic for end in _ends(t.protocols)}
    for family, width in ((AF_INET, 32), (AF_INET6, 128)):
        addresses = {int(vip) for vip in vips if vip.max_prefixlen == width}
        addresses |= set(_addresses(rule.dst, width))
        for protocol, address, port, place in product(
            sorted(protocols),
            sorted(_beside(addresses, (1 << width) - 1)),
            sorted(_beside(ports, PORTS)),
            range(len(balancer.cgroups) + 1) if _asks(rule.where) else (0,),
        ):
            yield SocketCall("connect", family, protocol, address, port, 0, place)


def _asks(where: Where | None) -> bool:
    """Whether a condition is about the caller's cgroup."""
    match where:
        case FieldTest(field, _):
            return field == "sock.cgroup"
        case AllOf(items) | AnyOf(items):
            return any(map(_asks, items))
    return False


def _beside(values: set[int], most: int) -> set[int]:
    return {n for value in {0, most, *values} for n in (value - 1, value, value + 1) if 0 <= n <= most}


def _ends(values: IntervalSet | None) -> list[int]:
    return [] if values is None else [end for pair in values.ranges for end in pair]


def _addresses(network: Network | None, width: int) -> Iterator[int]:
    """Ends of the ranges of a network."""
    match network:
        case None | Live() | Selected():
            return
        case Prefixes(v4, v6):
            yield from _ends(v4 if width == 32 else v6)
        case Not(operand):
            yield from _addresses(operand, width)
        case Union(left, right) | Minus(left, right):
            yield from _addresses(left, width)
            yield from _addresses(right, width)
