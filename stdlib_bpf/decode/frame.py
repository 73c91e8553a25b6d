"""What a frame says, field by field: the reference that the generated decoder must agree with.

Takes the bytes as the hook sees them; gives field → integer in host order, or `Malformed`. Written for
reading, not for speed. Sources: IEEE 802.1Q, RFC 791, RFC 8200 §4, RFC 4302 §2.2 (AH length in 4-byte units
minus 2), RFC 9293, RFC 768, RFC 9260, RFC 792, RFC 4443.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import (
    ETH_P_IP,
    ETH_P_IPV6,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
)

VLAN_TPIDS = (0x8100, 0x88A8)
MAX_VLAN_TAGS = 2
MAX_EXTENSION_HEADERS = 6
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION, MOBILITY = 0, 43, 44, 51, 60, 135
EXTENSION_HEADERS = (HOP_BY_HOP, ROUTING, DESTINATION, MOBILITY, FRAGMENT, AUTHENTICATION)
V4_MAPPED = 0xFFFF  # upper 96 bits of ::ffff:0:0/96

# Length of the fixed part of each transport header, in bytes.
TRANSPORT_LENGTH = {IPPROTO_TCP: 20, IPPROTO_UDP: 8, IPPROTO_SCTP: 12, IPPROTO_ICMP: 8, IPPROTO_ICMPV6: 8}

Facts = dict[str, int]


@dataclass(frozen=True)
class Malformed:
    """A frame that is decided before any rule; `reason` for people."""

    reason: str


class _Cut(Exception):  # noqa: N818 - control flow inside this module
    """The frame ends, or contradicts itself, where a header should be."""


def decode(frame: bytes, vlan_in_metadata: bool = False) -> Facts | Malformed:
    """Fields of a frame. `vlan_in_metadata`: the outermost tag was taken off into the packet's metadata (tc),
    where it counts as one of the two."""
    try:
        return _ethernet(frame, MAX_VLAN_TAGS - vlan_in_metadata)
    except _Cut as cut:
        return Malformed(str(cut))


def _need(data: bytes, length: int, what: str) -> None:
    if len(data) < length:
        raise _Cut(f"{what} is cut short")


def _u16(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 2])


def _ethernet(frame: bytes, tags: int) -> Facts:
    _need(frame, 14, "the Ethernet header")
    offset, ethertype = 14, _u16(frame, 12)
    while ethertype in VLAN_TPIDS and tags:
        _need(frame, offset + 4, "a VLAN tag")
        ethertype = _u16(frame, offset + 2)
        offset, tags = offset + 4, tags - 1
    facts = {"eth.type": ethertype}
    if ethertype == ETH_P_IP:
        _ipv4(frame[offset:], facts)
    elif ethertype == ETH_P_IPV6:
        _ipv6(frame[offset:], facts)
    return facts


def _ipv4(packet: bytes, facts: Facts) -> None:
    _need(packet, 20, "the IPv4 header")
    header_length, total_length = (packet[0] & 15) * 4, _u16(packet, 2)
    if packet[0] >> 4 != 4:
        raise _Cut("the IP version is not 4")
    if header_length < 20 or total_length < header_length:
        raise _Cut("the IPv4 header length is wrong")
    _need(packet, total_length, "the IPv4 packet")
    facts["ip.proto"] = packet[9]
    facts["ip4.src"] = int.from_bytes(packet[12:16])
    facts["ip4.dst"] = int.from_bytes(packet[16:20])
    later_fragment = _u16(packet, 6) & 0x1FFF
    if not later_fragment:
        _transport(packet[header_length:total_length], packet[9], ETH_P_IP, facts)


def _ipv6(packet: bytes, facts: Facts) -> None:
    _need(packet, 40, "the IPv6 header")
    if packet[0] >> 4 != 6:
        raise _Cut("the IP version is not 6")
    end = 40 + _u16(packet, 4)
    _need(packet, end, "the IPv6 packet")
    src, dst = int.from_bytes(packet[8:24]), int.from_bytes(packet[24:40])
    if V4_MAPPED in (src >> 32, dst >> 32):
        raise _Cut("an IPv4-mapped address on the wire")
    facts["ip6.src"], facts["ip6.dst"] = src, dst
    proto, rest = packet[6], packet[40:end]
    for _ in range(MAX_EXTENSION_HEADERS):
        if proto not in EXTENSION_HEADERS:
            break
        _need(rest, 8, "an IPv6 extension header")
        following, length = rest[0], (rest[1] + 1) * 8
        if proto == FRAGMENT:
            length = 8
            if _u16(rest, 2) & 0xFFF8:  # a later fragment: nothing behind this header can be read
                facts["ip.proto"] = following
                return
        elif proto == AUTHENTICATION:
            length = (rest[1] + 2) * 4
        _need(rest, length, "an IPv6 extension header")
        proto, rest = following, rest[length:]
    if proto in EXTENSION_HEADERS:
        raise _Cut(f"more than {MAX_EXTENSION_HEADERS} IPv6 extension headers")
    facts["ip.proto"] = proto
    _transport(rest, proto, ETH_P_IPV6, facts)


def _transport(segment: bytes, proto: int, ethertype: int, facts: Facts) -> None:
    if (proto, ethertype) in ((IPPROTO_ICMP, ETH_P_IPV6), (IPPROTO_ICMPV6, ETH_P_IP)):
        facts["l4.proto"] = proto  # the other family's ICMP is a payload like any other
        return
    _need(segment, TRANSPORT_LENGTH.get(proto, 0), "the transport header")
    facts["l4.proto"] = proto
    if proto in (IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP):
        facts["th.sport"], facts["th.dport"] = _u16(segment, 0), _u16(segment, 2)
    if proto == IPPROTO_TCP:
        data_offset = (segment[12] >> 4) * 4
        if data_offset < 20:
            raise _Cut("the TCP header length is wrong")
        _need(segment, data_offset, "the TCP header")
        facts["tcp.flags"] = segment[13]
    elif proto == IPPROTO_ICMP:
        facts["icmp.type"] = segment[0]
    elif proto == IPPROTO_ICMPV6:
        facts["icmp6.type"] = segment[0]
