"""Classes of packets: what is known of a packet once its headers have been looked at, and its fields' words.

A rule list is written once for each class, with the rules that its packets can meet. So no rule need guard
what it reads: a later fragment never comes where ports are asked for, nor a malformed packet anywhere. Knows
which headers nft reads; must never know a rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.decode.frame import EXTENSION_HEADERS, FIRST, LATER, WHOLE
from lockgate.stdlib_bpf.sets import IntervalSet

from .words import TAGGED, UNTAGGED, Word

of = IntervalSet.of


@dataclass(frozen=True)
class PacketClass:
    """`known`: values that a field can have in this class; a test of a field with neither word nor known
    values fails. `words`: how the others are asked for; `alternatives`: one-bit fields, and fragments, by
    value, each with texts of which one holds; `protocol`: what nft must be told first in a rule that asks for
    addresses of the link header, since it would look for the protocol there, where a tag may be."""

    name: str
    protocol: str
    known: Mapping[str, IntervalSet]
    words: Mapping[str, Word]
    alternatives: Mapping[str, Mapping[int, tuple[str, ...]]] = field(default_factory=dict)


# What every packet may have. `meta.length` depends on the hook (`lengths`), `meta.iif` on the rule list.
LINK = {
    "eth.src": Word("ether saddr", "ether_addr", style="mac"),
    "eth.dst": Word("ether daddr", "ether_addr", style="mac"),
    "vlan.id": Word("@ll,112,16 & 0x0fff", there=TAGGED),
    "vlan.priority": Word("@ll,112,8 & 0xe0", there=TAGGED, up=5),
    "meta.mark": Word("meta mark", "mark"),
}
TRANSPORT = {
    "th.sport": Word("th sport", "inet_service"),
    "th.dport": Word("th dport", "inet_service"),
    "tcp.window": Word("tcp window"),
    "tcp.header": Word("tcp doff", scale=4, possible=of(*range(20, 61, 4))),
}
NETWORK4 = {
    "ip.proto": Word("ip protocol", "inet_proto"),
    "ip4.src": Word("ip saddr", "ipv4_addr", style="ip4"),
    "ip4.dst": Word("ip daddr", "ipv4_addr", style="ip4"),
    "ip.ttl": Word("ip ttl"),
    "ip.dscp": Word("ip dscp"),
    "ip.ecn": Word("ip ecn"),
    "ip.length": Word("ip length", possible=of((20, 65535))),
    "ip4.options": Word("ip hdrlength", scale=4, offset=-20, possible=of(*range(0, 41, 4))),
}
# Those that are walked are no protocols, or nft ends its walk there and the packet is not read at all.
WALKED = of(*EXTENSION_HEADERS)
NETWORK6 = {
    "ip.proto": Word("meta l4proto", "inet_proto", possible=of((0, 255)) - WALKED),
    "ip6.src": Word("ip6 saddr", "ipv6_addr", style="ip6"),
    "ip6.dst": Word("ip6 daddr", "ipv6_addr", style="ip6"),
    "ip.ttl": Word("ip6 hoplimit"),
    "ip.dscp": Word("ip6 dscp"),
    "ip.ecn": Word("ip6 ecn"),
    "ip.length": Word("ip6 length", offset=40, possible=of((40, 40 + 65535))),
    "ip6.routing-type": Word("rt type", there="exthdr rt exists"),
    "ip6.segments-left": Word("rt seg-left", there="exthdr rt exists"),
}
ASKED6 = {
    f"ip6.{name}": {0: (f"exthdr {word} missing",), 1: (f"exthdr {word} exists",)}
    for name, word in (
        ("hop-by-hop", "hbh"),
        ("routing", "rt"),
        ("destination", "dst"),
        ("frag-header", "frag"),
    )
}
UNREAD6 = {"ip6.auth": of(0), "ip6.mobility": of(0)}

WHOLE4 = PacketClass(
    "ip4",
    "meta protocol ip",
    {"eth.type": fields.IP4, "ip.fragment": of(WHOLE, FIRST)},
    {
        **LINK,
        **NETWORK4,
        **TRANSPORT,
        "icmp.type": Word("icmp type", "icmp_type"),
        "icmp.code": Word("icmp code", "icmp_code"),
    },
    {
        "ip.fragment": {
            WHOLE: ("ip frag-off & 0x2000 == 0",),
            FIRST: ("ip frag-off & 0x2000 != 0",),
        }
    },
)
LATER4 = PacketClass(
    "ip4-later", "meta protocol ip", {"eth.type": fields.IP4, "ip.fragment": of(LATER)}, {**LINK, **NETWORK4}
)
WHOLE6 = PacketClass(
    "ip6",
    "meta protocol ip6",
    {"eth.type": fields.IP6, "ip.fragment": of(WHOLE, FIRST), **UNREAD6},
    {
        **LINK,
        **NETWORK6,
        **TRANSPORT,
        "icmp6.type": Word("icmpv6 type", "icmpv6_type"),
        "icmp6.code": Word("icmpv6 code", "icmpv6_code"),
    },
    {
        **ASKED6,
        "ip.fragment": {
            WHOLE: ("exthdr frag missing", "frag more-fragments 0"),
            FIRST: ("frag more-fragments 1",),
        },
    },
)
LATER6 = PacketClass(
    "ip6-later",
    "meta protocol ip6",
    {"eth.type": fields.IP6, "ip.fragment": of(LATER), "ip6.frag-header": of(1), **UNREAD6},
    {**LINK, **NETWORK6},
    {name: asked for name, asked in ASKED6.items() if name != "ip6.frag-header"},
)
ARP = PacketClass(
    "arp",
    "meta protocol arp",
    {"eth.type": of(fields.ETH_P_ARP)},
    {
        **LINK,
        "arp.op": Word("arp operation", "arp_op"),
        "arp.sha": Word("arp saddr ether", "ether_addr", style="mac"),
        "arp.spa": Word("arp saddr ip", "ipv4_addr", style="ip4"),
        "arp.tha": Word("arp daddr ether", "ether_addr", style="mac"),
        "arp.tpa": Word("arp daddr ip", "ipv4_addr", style="ip4"),
    },
)
NOT_IP = of((0, 0xFFFF)) - fields.IP
OTHER = PacketClass(
    "other",
    "",
    {"eth.type": NOT_IP},
    {**LINK, "eth.type": Word("meta protocol", "ether_type", possible=NOT_IP, style="hex")},
)
ALL = (WHOLE4, LATER4, WHOLE6, LATER6, ARP, OTHER)

# The link header that `meta length` leaves out, by nft's hook; XDP sees it, and the tag within it.
LENGTHS: dict[tuple[str, str], tuple[tuple[str, int], ...]] = {
    ("xdp", ""): ((f"{UNTAGGED} ", 14), (f"{TAGGED} ", 18)),
    ("tc", "ingress"): (("", 14),),
    ("tc", "egress"): (("", 0),),
}


def behind(packet_class: PacketClass, hook: str, direction: str) -> dict[str, tuple[tuple[str, Word], ...]]:
    """Words of a class at a hook: (text that stands before it, word) for each alternative."""
    found: dict[str, tuple[tuple[str, Word], ...]] = {
        name: (("", word),) for name, word in packet_class.words.items()
    }
    found["meta.length"] = tuple(
        (before, Word("meta length", offset=offset)) for before, offset in LENGTHS.get((hook, direction), ())
    )
    return found
