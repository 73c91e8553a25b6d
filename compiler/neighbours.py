"""Whether a rule list that drops what it does not name forgot the packets that find the next hop: ARP
(RFC 826) and neighbour discovery (RFC 4861).

Knows which packets these are; asks the reference what becomes of them. Silent where a rule speaks of them,
whatever it says, where nothing of the family is let through anyway, and on the loopback device, which needs
neither.
"""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.stdlib_bpf import fields, hooks
from lockgate.stdlib_bpf.decode.frame import Frame, decode

from . import errors, packet, policy
from .decision import DEFAULT
from .match.ir import MatchProgram
from .policy.model import Chain
from .source import Span

DROP = "drop"


@dataclass(frozen=True)
class Protocol:
    """`frame`: one packet of it, as text; `field` and `values`: what a rule tests that speaks of it;
    `carries`: the EtherType of the packets that do not arrive without it."""

    name: str
    frame: str
    field: str
    values: tuple[int, ...]
    carries: int


PROTOCOLS = (
    Protocol("ARP", "arp", "eth.type", (fields.ETH_P_ARP,), fields.ETH_P_IP),
    Protocol(
        "neighbour discovery",
        "icmp6 [fe80::1] > [ff02::1:ff00:1] type 135",
        "icmp6.type",
        (135, 136),
        fields.ETH_P_IPV6,
    ),
)


def forgotten(chain: Chain, program: MatchProgram) -> list[errors.DefaultDropsNeighbours]:
    """At most one finding: the protocols that the chain's default drops, and no rule speaks of."""
    if chain.default != DROP or all(target.rpartition("/")[2] == "lo" for target in chain.targets):
        return []
    found = [p for p in PROTOCOLS if _needed(p, program) and not _named(p, program) and _dropped(p, chain)]
    if not found:
        return []
    span = chain.default_span or chain.span
    return [
        errors.DefaultDropsNeighbours(
            hook=chain.hook,
            direction=chain.direction,
            span=span,
            protocols=tuple((p.name, p.frame) for p in found),
            action=next(v for v in hooks.ALL[chain.hook].verdicts if v != DROP),
            place=_rules_begin(chain, span),
        )
    ]


def _rules_begin(chain: Chain, default: Span) -> Span:
    """Where a rule could be added: in the direction's block, or behind the default."""
    text = default.source.text
    place = text.find("{", chain.span.start) + 1 if chain.direction else default.end
    return Span(default.source, place, place)


def _needed(protocol: Protocol, program: MatchProgram) -> bool:
    """Whether some rule lets packets through that need it."""
    for match in program.matches:
        rule, kinds = program.rules[match.rule], match.get("eth.type")
        lets_on = rule.verdict not in (DROP, "reject") and not rule.passing
        if lets_on and (kinds is None or protocol.carries in kinds):
            return True
    return False


def _named(protocol: Protocol, program: MatchProgram) -> bool:
    asked = (match.get(protocol.field) for match in program.matches)
    return any(values is not None and value in values for values in asked for value in protocol.values)


def _dropped(protocol: Protocol, chain: Chain) -> bool:
    frame = packet.parse(protocol.frame)
    facts = decode(frame) if isinstance(frame, Frame) else None
    return isinstance(facts, dict) and policy.decide(chain, facts, {}).rule == DEFAULT
