"""Names that the language itself defines: protocols as kinds of traffic, entities. Those of single values are
in `compiler.codes`.

Knows words and numbers (IANA registries); knows no policy.
"""

from __future__ import annotations

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

from ..decision import NO_RULE
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
NO_RULE_NAMES = frozenset(NO_RULE.values())
