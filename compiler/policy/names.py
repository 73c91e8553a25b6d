"""Names that the language itself defines: protocols, ICMP types, TCP flags, entities.

Knows words and numbers (IANA registries, RFC 792, RFC 4443, RFC 4861, RFC 9293); knows no policy.
"""

from __future__ import annotations

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

from .model import Traffic


def _protocol(number: int, eth_types: IntervalSet | None = None) -> Traffic:
    return Traffic(eth_types=eth_types, protocols=IntervalSet.of(number))


PROTOCOLS: dict[str, Traffic] = {
    "arp": Traffic(eth_types=IntervalSet.of(fields.ETH_P_ARP)),
    "icmp": _protocol(fields.IPPROTO_ICMP, fields.IP4),
    "icmp6": _protocol(fields.IPPROTO_ICMPV6, fields.IP6),
    "ip": Traffic(eth_types=fields.IP),
    "ip4": Traffic(eth_types=fields.IP4),
    "ip6": Traffic(eth_types=fields.IP6),
    "sctp": _protocol(fields.IPPROTO_SCTP),
    "tcp": _protocol(fields.IPPROTO_TCP),
    "udp": _protocol(fields.IPPROTO_UDP),
}

ENTITIES = frozenset({"cluster", "nodes", "self", "world"})

# Words that a rule may not be called: reports use them for decisions without a rule.
NO_RULE_NAMES = frozenset({"default", "malformed"})

# ICMP types by protocol number, then by name.
ICMP_TYPES: dict[int, dict[str, int]] = {
    fields.IPPROTO_ICMP: {
        "echo-reply": 0,
        "destination-unreachable": 3,
        "redirect": 5,
        "echo-request": 8,
        "router-advert": 9,
        "router-solicit": 10,
        "time-exceeded": 11,
        "parameter-problem": 12,
        "timestamp-request": 13,
        "timestamp-reply": 14,
    },
    fields.IPPROTO_ICMPV6: {
        "destination-unreachable": 1,
        "packet-too-big": 2,
        "time-exceeded": 3,
        "parameter-problem": 4,
        "echo-request": 128,
        "echo-reply": 129,
        "listener-query": 130,
        "listener-report": 131,
        "listener-done": 132,
        "router-solicit": 133,
        "router-advert": 134,
        "neighbour-solicit": 135,
        "neighbour-advert": 136,
        "redirect": 137,
        "listener-report-v2": 143,
    },
}

TCP_FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ece": 64, "cwr": 128}

# Code points of the DS field: RFC 2474, 2597, 3246, 5865, 8622.
DSCP = (
    {f"cs{n}": 8 * n for n in range(8)}
    | {f"af{c}{d}": 8 * c + 2 * d for c in range(1, 5) for d in range(1, 4)}
    | {"ef": 46, "va": 44, "le": 1}
)
