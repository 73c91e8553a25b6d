"""What a frame says, field by field: the reference that the generated decoder must agree with.

Takes the bytes as the hook sees them; gives field → integer in host order, or `Malformed`. Written for
reading, not for speed. Sources: IEEE 802.1Q, RFC 791, RFC 8200 §4, RFC 4302 §2.2 (AH length in 4-byte units
minus 2), RFC 9293, RFC 768, RFC 9260, RFC 792, RFC 4443, RFC 826; struct __sk_buff for what is no part of a
frame.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import (
    ETH_P_ARP,
    ETH_P_IP,
    ETH_P_IPV6,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
)
from . import quote

VLAN_TPIDS = (0x8100, 0x88A8)
MAX_VLAN_TAGS = 2
MAX_EXTENSION_HEADERS = 6
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION, MOBILITY = 0, 43, 44, 51, 60, 135
# Extension headers that are walked → the field that says so.
EXTENSION_HEADERS = {
    HOP_BY_HOP: "ip6.hop-by-hop",
    ROUTING: "ip6.routing",
    DESTINATION: "ip6.destination",
    MOBILITY: "ip6.mobility",
    FRAGMENT: "ip6.frag-header",
    AUTHENTICATION: "ip6.auth",
}
WHOLE, FIRST, LATER = range(3)  # values of `ip.fragment`
ARP_ETHERNET_IPV4 = bytes.fromhex("0001 0800 06 04")  # hardware and protocol, lengths of their addresses
ARP_BYTES = 28
V4_MAPPED = 0xFFFF  # upper 96 bits of ::ffff:0:0/96

# Length of the fixed part of each transport header, in bytes.
TRANSPORT_LENGTH = {IPPROTO_TCP: 20, IPPROTO_UDP: 8, IPPROTO_SCTP: 12, IPPROTO_ICMP: 8, IPPROTO_ICMPV6: 8}

Facts = dict[str, int]


@dataclass(frozen=True)
class Frame:
    """A frame as a hook sees it. `vlan_tci`: the outermost tag's priority and VLAN when it was taken off into
    the packet's metadata; `linear`: bytes that lie in the packet's linear part, None for all; `mark`: the
    packet's mark; `segments`: how many packets of the wire it stands for. These exist at tc only.
    `first_buffer`: bytes that lie in the first of several buffers, None for all (XDP only). `time_ns`: when
    it comes; `iif`: where it arrived, as the field `meta.iif` has it, None for nowhere (tc only). `point` and
    `ifindex`: where a program of an endpoint sees it (`state.endpoints.POINTS`), and at which interface."""

    data: bytes
    vlan_tci: int | None = None
    linear: int | None = None
    mark: int = 0
    time_ns: int = 0
    segments: int = 1
    iif: int | None = 0
    first_buffer: int | None = None
    point: str = ""
    ifindex: int = 0


@dataclass(frozen=True)
class Malformed:
    """A frame that is decided before any rule; `reason` for people."""

    reason: str


class _Cut(Exception):  # noqa: N818 - control flow inside this module
    """The frame ends, or contradicts itself, where a header should be."""


def decode(frame: Frame | bytes) -> Facts | Malformed:
    """Fields of a frame; bytes stand for a frame without metadata."""
    try:
        return _ethernet(Frame(frame) if isinstance(frame, bytes) else frame)
    except _Cut as cut:
        return Malformed(str(cut))


def counted(frame: Frame) -> int:
    """How many bytes counters count: those of the frame, except where its IP packet ends in the first of
    several buffers. Then those of that buffer: what else there is takes a program longer to ask than to judge
    the packet."""
    facts, whole = decode(frame), len(frame.data)
    return whole if isinstance(facts, Malformed) else facts.get("meta.counted", whole)


# Below, `left` is how long a piece of the packet is, and its bytes are those of them that lie in the first
# buffer.


def _need(data: bytes, length: int, what: str) -> None:
    """A header that is read must be there."""
    if len(data) < length:
        raise _Cut(f"{what} is cut short, or lies outside the first buffer")


def _whole(left: int, length: int, what: str) -> None:
    """What a length speaks of must be there, wherever it lies."""
    if left < length:
        raise _Cut(f"{what} is cut short")


def _u16(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 2])


def _ethernet(seen: Frame) -> Facts:
    frame, tag = seen.data[: seen.first_buffer], seen.vlan_tci
    _need(frame, 14, "the Ethernet header")
    offset, ethertype = 14, _u16(frame, 12)
    for _ in range(MAX_VLAN_TAGS - (tag is not None)):
        if ethertype not in VLAN_TPIDS:
            break
        _need(frame, offset + 4, "a VLAN tag")
        tag = _u16(frame, offset) if tag is None else tag
        offset, ethertype = offset + 4, _u16(frame, offset + 2)
    facts = {
        "eth.type": ethertype,
        "eth.dst": int.from_bytes(frame[:6]),
        "eth.src": int.from_bytes(frame[6:12]),
        "meta.length": len(seen.data),
        "meta.mark": seen.mark,
        "meta.segments": seen.segments,
        "meta.time": seen.time_ns,
    }
    if seen.iif is not None:
        facts["meta.iif"] = seen.iif
    if tag is not None:
        facts["vlan.id"], facts["vlan.priority"] = tag & 0xFFF, tag >> 13
    packet, left = frame[offset:], len(seen.data) - offset
    if ethertype == ETH_P_ARP:
        _arp(packet, facts)
    elif ethertype == ETH_P_IP:
        _ipv4(packet, left, facts)
    elif ethertype == ETH_P_IPV6:
        _ipv6(packet, left, facts)
    if seen.first_buffer is not None and facts.get("ip.length", len(packet) + 1) <= len(packet):
        facts["meta.counted"] = len(frame)
    return facts


def _arp(packet: bytes, facts: Facts) -> None:
    """ARP of another kind, cut short or outside the first buffer, is a packet without these fields."""
    if len(packet) < ARP_BYTES or not packet.startswith(ARP_ETHERNET_IPV4):
        return
    facts["arp.op"] = _u16(packet, 6)
    facts["arp.sha"], facts["arp.spa"] = int.from_bytes(packet[8:14]), int.from_bytes(packet[14:18])
    facts["arp.tha"], facts["arp.tpa"] = int.from_bytes(packet[18:24]), int.from_bytes(packet[24:28])


def _ipv4(packet: bytes, left: int, facts: Facts) -> None:
    _need(packet, 20, "the IPv4 header")
    header_length, total_length = (packet[0] & 15) * 4, _u16(packet, 2)
    if packet[0] >> 4 != 4:
        raise _Cut("the IP version is not 4")
    if header_length < 20 or total_length < header_length:
        raise _Cut("the IPv4 header length is wrong")
    _whole(left, total_length, "the IPv4 packet")
    facts["ip.proto"] = packet[9]
    facts["ip4.src"] = int.from_bytes(packet[12:16])
    facts["ip4.dst"] = int.from_bytes(packet[16:20])
    _traffic_class(packet[1], facts)
    facts["ip.ttl"], facts["ip.length"] = packet[8], total_length
    facts["ip4.options"] = header_length - 20
    later_fragment, more = _u16(packet, 6) & 0x1FFF, _u16(packet, 6) & 0x2000
    facts["ip.fragment"] = LATER if later_fragment else FIRST if more else WHOLE
    facts["meta.datagram"] = _u16(packet, 4)
    if not later_fragment:
        segment, left = packet[header_length:total_length], total_length - header_length
        _transport(segment, left, packet[9], ETH_P_IP, facts)


def _traffic_class(octet: int, facts: Facts) -> None:
    facts["ip.dscp"], facts["ip.ecn"] = octet >> 2, octet & 3


def _ipv6(packet: bytes, left: int, facts: Facts) -> None:
    _need(packet, 40, "the IPv6 header")
    if packet[0] >> 4 != 6:
        raise _Cut("the IP version is not 6")
    end = 40 + _u16(packet, 4)
    _whole(left, end, "the IPv6 packet")
    src, dst = int.from_bytes(packet[8:24]), int.from_bytes(packet[24:40])
    if V4_MAPPED in (src >> 32, dst >> 32):
        raise _Cut("an IPv4-mapped address on the wire")
    facts["ip6.src"], facts["ip6.dst"] = src, dst
    _traffic_class(_u16(packet, 0) >> 4 & 0xFF, facts)
    facts["ip.ttl"], facts["ip.length"], facts["ip.fragment"] = packet[7], end, WHOLE
    facts.update(dict.fromkeys(EXTENSION_HEADERS.values(), 0))
    proto, rest, left = packet[6], packet[40:end], end - 40
    for _ in range(MAX_EXTENSION_HEADERS):
        if proto not in EXTENSION_HEADERS:
            break
        _need(rest, 8, "an IPv6 extension header")
        following, length = rest[0], (rest[1] + 1) * 8
        facts[EXTENSION_HEADERS[proto]] = 1
        if proto == FRAGMENT:
            length, place = 8, _u16(rest, 2)
            facts["meta.datagram"] = int.from_bytes(rest[4:8])
            if place & 0xFFF8:  # a later fragment: nothing behind this header can be read
                facts["ip.proto"], facts["ip.fragment"] = following, LATER
                return
            facts["ip.fragment"] |= place & 1  # more follow
        elif proto == ROUTING:
            facts.setdefault("ip6.routing-type", rest[2])
            facts.setdefault("ip6.segments-left", rest[3])
        elif proto == AUTHENTICATION:
            length = (rest[1] + 2) * 4
        _whole(left, length, "an IPv6 extension header")
        proto, rest, left = following, rest[length:], left - length
    if proto in EXTENSION_HEADERS:
        raise _Cut(f"more than {MAX_EXTENSION_HEADERS} IPv6 extension headers")
    facts["ip.proto"] = proto
    _transport(rest, left, proto, ETH_P_IPV6, facts)


def _transport(segment: bytes, left: int, proto: int, ethertype: int, facts: Facts) -> None:
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
        _whole(left, data_offset, "the TCP header")
        facts["tcp.flags"], facts["tcp.window"] = segment[13], _u16(segment, 14)
        facts["tcp.header"] = data_offset
    elif proto == IPPROTO_ICMP:
        facts["icmp.type"], facts["icmp.code"] = segment[0], segment[1]
        _icmp(segment, 4, facts)
    elif proto == IPPROTO_ICMPV6:
        facts["icmp6.type"], facts["icmp6.code"] = segment[0], segment[1]
        _icmp(segment, 6, facts)


def _icmp(segment: bytes, family: int, facts: Facts) -> None:
    """What tells flows apart and no rule asks for: the place of an identifier, and what an error quotes."""
    facts["meta.echo"] = _u16(segment, 4)
    if segment[0] in quote.ERRORS[family] and facts["ip.fragment"] == WHOLE:
        facts.update(quote.decode(family, segment[8:]))
