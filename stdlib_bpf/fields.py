"""The fields a rule may test: one row each.

A field is an unsigned integer in host order, or missing. A test on a missing field is false, whatever it
asks (`language.md`, semantics). `guards` name the tests that must stand beside a test of this field, so that
a header is never read where another one lies; `match.verify` and `plan.verify` check them.

Knows names, widths and guards; knows neither frames nor generated code (`decode`, `emit`).
"""

from __future__ import annotations

from dataclasses import dataclass

from .sets import IntervalSet

ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0800, 0x0806, 0x86DD
IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMPV6, IPPROTO_SCTP = 1, 6, 17, 58, 132

IP = IntervalSet.of(ETH_P_IP, ETH_P_IPV6)
IP4 = IntervalSet.of(ETH_P_IP)
IP6 = IntervalSet.of(ETH_P_IPV6)
WITH_PORTS = IntervalSet.of(IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP)

PACKET_HOOKS = frozenset({"xdp", "tc"})
ALL_HOOKS = PACKET_HOOKS | {"connect"}


@dataclass(frozen=True)
class Field:
    """`name` as in the IRs; `width_bits`; `guards`: field name → values that must be required beside it;
    `hooks` where it exists; `of_packet`: it lies in the transport header, which later fragments lack."""

    name: str
    width_bits: int
    doc: str
    source: str
    guards: tuple[tuple[str, IntervalSet], ...] = ()
    hooks: frozenset[str] = ALL_HOOKS
    transport: bool = False

    @property
    def full(self) -> IntervalSet:
        """Every value: a test for presence."""
        return IntervalSet.full(self.width_bits)


_ICMP4 = (("eth.type", IP4), ("ip.proto", IntervalSet.of(IPPROTO_ICMP)))
_ICMP6 = (("eth.type", IP6), ("ip.proto", IntervalSet.of(IPPROTO_ICMPV6)))
_PORTS = (("eth.type", IP), ("ip.proto", WITH_PORTS))
_TCP = (("eth.type", IP), ("ip.proto", IntervalSet.of(IPPROTO_TCP)))

ALL: tuple[Field, ...] = (
    Field(
        "eth.type",
        16,
        "EtherType behind at most two VLAN tags; at connect, that of the address family",
        "IEEE 802.3 clause 3.2.6, IEEE 802.1Q",
    ),
    Field(
        "ip.proto",
        8,
        "protocol of the payload, behind IPv6 extension headers",
        "RFC 791, RFC 8200 §4",
        guards=(("eth.type", IP),),
    ),
    Field("ip4.src", 32, "IPv4 source address", "RFC 791 §3.1", (("eth.type", IP4),), PACKET_HOOKS),
    Field("ip4.dst", 32, "IPv4 destination address", "RFC 791 §3.1", (("eth.type", IP4),)),
    Field("ip6.src", 128, "IPv6 source address", "RFC 8200 §3", (("eth.type", IP6),), PACKET_HOOKS),
    Field("ip6.dst", 128, "IPv6 destination address", "RFC 8200 §3", (("eth.type", IP6),)),
    Field(
        "th.sport",
        16,
        "source port of TCP, UDP or SCTP",
        "RFC 9293 §3.1, RFC 768, RFC 9260 §3.1",
        _PORTS,
        PACKET_HOOKS,
        transport=True,
    ),
    Field(
        "th.dport",
        16,
        "destination port of TCP, UDP or SCTP",
        "RFC 9293 §3.1, RFC 768, RFC 9260 §3.1",
        _PORTS,
        transport=True,
    ),
    Field(
        "tcp.flags",
        8,
        "TCP control bits, CWR the highest and FIN the lowest",
        "RFC 9293 §3.1",
        _TCP,
        PACKET_HOOKS,
        transport=True,
    ),
    Field("icmp.type", 8, "ICMP type", "RFC 792", _ICMP4, PACKET_HOOKS, transport=True),
    Field("icmp6.type", 8, "ICMPv6 type", "RFC 4443 §2.1", _ICMP6, PACKET_HOOKS, transport=True),
)

# Only the plan names this one: `ip.proto` where the packet carries the transport header, missing in later
# fragments. One comparison guards a transport field by protocol and by fragment offset at once.
L4_PROTO = Field(
    "l4.proto",
    8,
    "protocol of the transport header that this packet carries",
    "RFC 791 §3.2 (fragment offset), RFC 8200 §4.5",
    (("eth.type", IP),),
)

BY_NAME: dict[str, Field] = {f.name: f for f in (*ALL, L4_PROTO)}
ORDER: dict[str, int] = {name: i for i, name in enumerate(BY_NAME)}


def live_field(address_field: str, set_name: str) -> str:
    """Name of the one-bit field "this address is in that dynamic set now", such as `ip4.src@ban`. It is
    missing where the address is; it takes part in set algebra like any other field."""
    return f"{address_field}@{set_name}"


def split_live(name: str) -> tuple[str, str] | None:
    """(address field, set name) of a live field, None for an ordinary one."""
    base, at, set_name = name.partition("@")
    return (base, set_name) if at else None


def lookup(name: str) -> Field:
    """The row of a field or live field. KeyError for an unknown one."""
    row = BY_NAME.get(name)
    if row is not None:
        return row
    live = split_live(name)
    if live is None:
        raise KeyError(name)
    base = BY_NAME[live[0]]
    return Field(name, 1, f"whether {base.doc} is in the dynamic set {live[1]}", "", base.guards, base.hooks)


def sort_key(name: str) -> tuple[int, str]:
    """Order of fields within a match: the table's, live fields behind their address. KeyError for an unknown
    field."""
    return (ORDER[name.partition("@")[0]], name)
