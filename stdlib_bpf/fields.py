"""The fields a rule may test: one row each.

A field is an unsigned integer in host order, or missing. A test on a missing field is false, whatever it
asks (`language.md`, semantics). `guards` name the tests that must stand beside a test of this field, so that
a header is never read where another one lies; `match.verify` and `plan.verify` check them.

Knows names, widths and guards; knows neither frames nor generated code (`decode`, `emit`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .sets import IntervalSet

ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0800, 0x0806, 0x86DD
IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMPV6, IPPROTO_SCTP = 1, 6, 17, 58, 132

IP = IntervalSet.of(ETH_P_IP, ETH_P_IPV6)
IP4 = IntervalSet.of(ETH_P_IP)
IP6 = IntervalSet.of(ETH_P_IPV6)
WITH_PORTS = IntervalSet.of(IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP)

PACKET_HOOKS = frozenset({"xdp", "tc", "endpoint"})
ALL_HOOKS = PACKET_HOOKS | {"connect"}


@dataclass(frozen=True)
class Field:
    """`name` as in conditions and in the IRs; `width_bits`; `guards`: field name → values that must be
    required beside it; `hooks` where it exists; `transport`: it lies in the transport header, which later
    fragments lack; `optional`: it may be missing although its guards hold, and every test of it answers no
    then; `style`: how values are written ("int", "hex", "mac", "ip4", "ip6", "device", "cgroup"); `least` and
    `most`: the smallest and largest value that occurs, where the width alone does not say (None)."""

    name: str
    width_bits: int
    doc: str
    source: str
    guards: tuple[tuple[str, IntervalSet], ...] = ()
    hooks: frozenset[str] = PACKET_HOOKS
    transport: bool = False
    optional: bool = False
    style: str = "int"
    least: int = 0
    most: int | None = None

    @property
    def full(self) -> IntervalSet:
        """Every value: a test for presence."""
        return IntervalSet.full(self.width_bits)

    @property
    def possible(self) -> IntervalSet:
        """Every value that occurs."""
        return IntervalSet.of((self.least, self.full.ranges[0][1] if self.most is None else self.most))


_IP, _IP4, _IP6 = ((("eth.type", values),) for values in (IP, IP4, IP6))
_ARP = (("eth.type", IntervalSet.of(ETH_P_ARP)),)
_ICMP4 = (("eth.type", IP4), ("ip.proto", IntervalSet.of(IPPROTO_ICMP)))
_ICMP6 = (("eth.type", IP6), ("ip.proto", IntervalSet.of(IPPROTO_ICMPV6)))
_PORTS = (("eth.type", IP), ("ip.proto", WITH_PORTS))
_TCP = (("eth.type", IP), ("ip.proto", IntervalSet.of(IPPROTO_TCP)))


def _walked(name: str, title: str, source: str) -> Field:
    return Field(name, 1, f"1 when the packet has {title}, else 0", source, _IP6)


def _behind_routing(name: str, doc: str) -> Field:
    return Field(name, 8, f"{doc} of the first routing header", "RFC 8200 §4.4", _IP6, optional=True)


_ETHERNET, _TAG, _ARP_SOURCE = "IEEE 802.3 clause 3.2", "IEEE 802.1Q clause 9.6", "RFC 826"

ALL: tuple[Field, ...] = (
    Field(
        "eth.type",
        16,
        "EtherType behind at most two VLAN tags; at connect, that of the address family",
        "IEEE 802.3 clause 3.2.6, IEEE 802.1Q",
        hooks=ALL_HOOKS,
        style="hex",
    ),
    Field("eth.src", 48, "source MAC address", _ETHERNET, style="mac"),
    Field("eth.dst", 48, "destination MAC address", _ETHERNET, style="mac"),
    Field("vlan.id", 12, "VLAN of the outermost tag, in the frame or in metadata", _TAG, optional=True),
    Field("vlan.priority", 3, "priority (PCP) of the outermost tag", _TAG, optional=True),
    Field("arp.op", 16, "operation of ARP for Ethernet and IPv4", _ARP_SOURCE, _ARP, optional=True),
    Field("arp.sha", 48, "ARP sender's hardware address", _ARP_SOURCE, _ARP, optional=True, style="mac"),
    Field("arp.spa", 32, "ARP sender's protocol address", _ARP_SOURCE, _ARP, optional=True, style="ip4"),
    Field("arp.tha", 48, "ARP target's hardware address", _ARP_SOURCE, _ARP, optional=True, style="mac"),
    Field("arp.tpa", 32, "ARP target's protocol address", _ARP_SOURCE, _ARP, optional=True, style="ip4"),
    Field(
        "ip.proto",
        8,
        "protocol of the payload, behind IPv6 extension headers",
        "RFC 791, RFC 8200 §4",
        _IP,
        ALL_HOOKS,
    ),
    Field("ip4.src", 32, "IPv4 source address", "RFC 791 §3.1", _IP4, style="ip4"),
    Field("ip4.dst", 32, "IPv4 destination address", "RFC 791 §3.1", _IP4, ALL_HOOKS, style="ip4"),
    Field("ip6.src", 128, "IPv6 source address", "RFC 8200 §3", _IP6, style="ip6"),
    Field("ip6.dst", 128, "IPv6 destination address", "RFC 8200 §3", _IP6, ALL_HOOKS, style="ip6"),
    Field("ip.ttl", 8, "IPv4 time to live, IPv6 hop limit", "RFC 791 §3.1, RFC 8200 §3", _IP),
    Field("ip.dscp", 6, "differentiated services code point", "RFC 2474 §3", _IP),
    Field("ip.ecn", 2, "explicit congestion notification", "RFC 3168 §5", _IP),
    Field(
        "ip.length",
        17,
        "length of the IP packet in bytes, with its header",
        "RFC 791 §3.1, RFC 8200 §3",
        _IP,
        least=20,
        most=40 + 65535,
    ),
    Field(
        "ip.fragment",
        2,
        "0 for a whole packet, 1 for a first fragment, 2 for a later one",
        "RFC 791 §3.2, RFC 8200 §4.5, RFC 6946",
        _IP,
        most=2,
    ),
    Field("ip4.options", 6, "bytes of IPv4 options", "RFC 791 §3.1", _IP4, most=40),
    _walked("ip6.hop-by-hop", "a hop-by-hop options header", "RFC 8200 §4.3"),
    _walked("ip6.routing", "a routing header", "RFC 8200 §4.4"),
    _walked("ip6.destination", "a destination options header", "RFC 8200 §4.6"),
    _walked("ip6.auth", "an authentication header", "RFC 4302"),
    _walked("ip6.mobility", "a mobility header", "RFC 6275 §6.1"),
    _walked("ip6.frag-header", "a fragment header", "RFC 8200 §4.5"),
    _behind_routing("ip6.routing-type", "type"),
    _behind_routing("ip6.segments-left", "segments left"),
    Field(
        "th.sport",
        16,
        "source port of TCP, UDP or SCTP",
        "RFC 9293 §3.1, RFC 768, RFC 9260 §3.1",
        _PORTS,
        transport=True,
    ),
    Field(
        "th.dport",
        16,
        "destination port of TCP, UDP or SCTP",
        "RFC 9293 §3.1, RFC 768, RFC 9260 §3.1",
        _PORTS,
        ALL_HOOKS,
        transport=True,
    ),
    Field(
        "tcp.flags",
        8,
        "TCP control bits, CWR the highest and FIN the lowest",
        "RFC 9293 §3.1",
        _TCP,
        transport=True,
    ),
    Field("tcp.window", 16, "TCP window, unscaled", "RFC 9293 §3.1", _TCP, transport=True),
    Field(
        "tcp.header",
        6,
        "length of the TCP header in bytes",
        "RFC 9293 §3.1",
        _TCP,
        transport=True,
        least=20,
        most=60,
    ),
    Field("icmp.type", 8, "ICMP type", "RFC 792", _ICMP4, transport=True),
    Field("icmp.code", 8, "ICMP code", "RFC 792", _ICMP4, transport=True),
    Field("icmp6.type", 8, "ICMPv6 type", "RFC 4443 §2.1", _ICMP6, transport=True),
    Field("icmp6.code", 8, "ICMPv6 code", "RFC 4443 §2.1", _ICMP6, transport=True),
    Field(
        "meta.length",
        32,
        "length of the frame in bytes as the hook sees it",
        "include/uapi/linux/bpf.h",
        least=14,
    ),
    Field(
        "meta.mark",
        32,
        "the packet's mark",
        "include/uapi/linux/bpf.h",
        hooks=frozenset({"tc", "endpoint"}),
        style="hex",
    ),
    Field(
        "meta.iif",
        16,
        "interface that the packet arrived on: its place in the chain's list of devices from 1 on, 0 for any "
        "other one; missing where the packet comes from the host itself",
        "include/uapi/linux/bpf.h, ingress_ifindex",
        optional=True,
        style="device",
    ),
    Field(
        "sock.uid",
        32,
        "user id of the process that makes the call",
        "bpf-helpers(7), bpf_get_current_uid_gid",
        hooks=frozenset({"connect"}),
    ),
    Field(
        "sock.cgroup",
        16,
        "cgroup of the process that makes the call: the place, in the chain's list of cgroups from 1 on, of "
        "the deepest one that it is in, 0 for none",
        "bpf-helpers(7), bpf_get_current_ancestor_cgroup_id",
        hooks=frozenset({"connect"}),
        style="cgroup",
    ),
)

# No policy names these; they say how an endpoint sees a packet (`state.endpoints`, `state.flows`).
FLOW_FIELDS = (
    Field(
        "flow.direction",
        1,
        "0 for a packet that the judged endpoint receives, 1 for one that it sends",
        "docs/internals/endpoints.md",
        hooks=frozenset({"endpoint"}),
    ),
    Field(
        "flow.opens",
        1,
        "0 for TCP other than SYN alone of SYN, ACK, FIN and RST, and for an ICMP echo reply; else 1",
        "RFC 9293 §3.5, RFC 792",
        hooks=frozenset({"endpoint"}),
    ),
)

# Only the plan names this one: `ip.proto` where the packet carries the transport header, missing in later
# fragments. One comparison guards a transport field by protocol and by fragment offset at once.
L4_PROTO = Field(
    "l4.proto",
    8,
    "protocol of the transport header that this packet carries",
    "RFC 791 §3.2 (fragment offset), RFC 8200 §4.5",
    _IP,
    ALL_HOOKS,
)

# Fields whose registers say "missing": the plan may test them anywhere, with tests that answer no there.
ANSWERED = frozenset({"ip.proto", L4_PROTO.name, *(f.name for f in ALL if f.optional)})

BY_NAME: dict[str, Field] = {f.name: f for f in (*ALL, L4_PROTO, *FLOW_FIELDS)}
ORDER: dict[str, int] = {name: i for i, name in enumerate(BY_NAME)}


def live_field(address_field: str, set_name: str) -> str:
    """Name of the one-bit field "this address is in that dynamic set now", such as `ip4.src@ban`. It is
    missing where the address is; it takes part in set algebra like any other field."""
    return f"{address_field}@{set_name}"


def split_live(name: str) -> tuple[str, str] | None:
    """(address field, set name) of a live field, None for an ordinary one."""
    base, at, set_name = name.partition("@")
    return (base, set_name) if at else None


DIRECTIONS = ("ingress", "egress")  # values of `flow.direction`
SUBJECT, PEER = "subject", "peer"
_ENDS = {SUBJECT: ("the judged endpoint", ()), PEER: ("the endpoint that has the other address", _IP)}


def selected_field(end: str, number: int) -> str:
    """Name of the one-bit field "that selection takes this end of the packet" (`state.endpoints`), such as
    `peer#3`. `end`: SUBJECT, the endpoint that is judged, or PEER, whoever has the other address: bits are 0
    for an address that no endpoint has."""
    return f"{end}#{number}"


def end_of(side: str, direction: str) -> str:
    """Which end of a packet has the address of a side ("src" or "dst"), for an endpoint that receives the
    packet (direction "ingress") or sends it."""
    return PEER if (side == "src") == (direction == "ingress") else SUBJECT


def split_selected(name: str) -> tuple[str, int] | None:
    """(end, number) of a field of `selected_field`, None for any other."""
    end, mark, number = name.partition("#")
    return (end, int(number)) if mark and end in _ENDS and number.isdecimal() else None


def lookup(name: str) -> Field:
    """The row of a field, live field or field of a selection. KeyError for an unknown one."""
    row = BY_NAME.get(name)
    if row is not None:
        return row
    if (selected := split_selected(name)) is not None:
        who, guards = _ENDS[selected[0]]
        doc = f"whether selection {selected[1]} takes {who}"
        return Field(name, 1, doc, "docs/internals/endpoints.md", guards, frozenset({"endpoint"}))
    live = split_live(name)
    if live is None:
        raise KeyError(name)
    base = BY_NAME[live[0]]
    return Field(name, 1, f"whether {base.doc} is in the dynamic set {live[1]}", "", base.guards, base.hooks)


def sort_key(name: str) -> tuple[int, str]:
    """Order of fields within a match: the table's, live fields behind their address. KeyError for an unknown
    field."""
    place = ORDER.get(name)
    if place is not None:
        return (place, name)
    if (selected := split_selected(name)) is not None:
        return (len(ORDER), f"{selected[0]}#{selected[1]:06}")
    return (ORDER[name.partition("@")[0]], name)


def guarded(*parts: Mapping[str, IntervalSet]) -> dict[str, IntervalSet] | None:
    """The tests of all parts and all their guards at once; None when no packet can satisfy them."""
    found: dict[str, IntervalSet] = {}
    pending = [test for part in parts for test in part.items()]
    while pending:
        name, values = pending.pop()
        if name in found:
            values = values & found[name]
        else:
            pending.extend(lookup(name).guards)
        if not values:
            return None
        found[name] = values
    return found
