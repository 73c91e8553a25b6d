"""A packet from what is asked of it: field → value to a frame or a socket call; the rest has defaults.

IPv4, TCP with SYN, ports 40000 and 80, TTL 64, 192.0.2.1 to 198.51.100.1 and 2001:db8::1 to 2001:db8::2, an
echo request, an ARP request. Lengths and checksums are right. Knows headers (RFC 791, 8200, 9293, 768, 9260,
792, 4443, 826, 1071, 4302, 6275; IEEE 802.1Q) by the fields' names; must never know a policy.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from lockgate.stdlib_bpf import fields as f
from lockgate.stdlib_bpf.decode.frame import ARP_ETHERNET_IPV4, FIRST, LATER, Facts, Frame
from lockgate.stdlib_bpf.decode.sock_addr import AF_INET, AF_INET6, SocketCall

DEFAULT_SRC = {4: 0xC0000201, 6: 0x20010DB8 << 96 | 1}
DEFAULT_DST = {4: 0xC6336401, 6: 0x20010DB8 << 96 | 2}
DEFAULT_SPORT, DEFAULT_DPORT, DEFAULT_TTL, DEFAULT_WINDOW, SYN = 40000, 80, 64, 65535, 2
ECHO_REQUEST = {f.IPPROTO_ICMP: 8, f.IPPROTO_ICMPV6: 128}
SENDER, RECEIVER, BROADCAST = 0x020000000001, 0x020000000002, 0xFFFFFFFFFFFF  # MAC addresses
OTHER_BYTES = 46  # of a frame that is neither IP nor ARP: the least that Ethernet carries
NO_OPERATION = b"\1"  # option of IPv4 and of TCP
PAD_6 = bytes((1, 4, 0, 0, 0, 0))  # a PadN option that fills a header of 8 bytes
# Extension headers in the order of RFC 8200 §4.1: field, number.
EXTENSIONS = (
    ("ip6.hop-by-hop", 0),
    ("ip6.destination", 60),
    ("ip6.routing", 43),
    ("ip6.frag-header", 44),
    ("ip6.auth", 51),
    ("ip6.mobility", 135),
)

Asked = Mapping[str, int]


def build(asked: Asked) -> Frame:
    """The frame. `unmet` says whether it has what was asked for: not everything goes together."""
    eth_type = asked.get("eth.type", implied_eth_type(asked))
    network = _NETWORKS.get(eth_type, _other)(asked)
    receiver = BROADCAST if eth_type == f.ETH_P_ARP else RECEIVER
    link = asked.get("eth.dst", receiver).to_bytes(6) + asked.get("eth.src", SENDER).to_bytes(6)
    if "vlan.id" in asked or "vlan.priority" in asked:
        tci = asked.get("vlan.priority", 0) << 13 | asked.get("vlan.id", 0)
        link += struct.pack("!HH", 0x8100, tci)
    data = link + struct.pack("!H", eth_type) + network
    data = data.ljust(min(asked.get("meta.length", 0), 1 << 16), b"\0")
    return Frame(data, mark=asked.get("meta.mark", 0), iif=asked.get("meta.iif", 0))


def call(asked: Asked, operation: str = "connect") -> SocketCall:
    """The socket call that would send the packet; `operation`: "connect" or "sendmsg"."""
    family = 6 if asked.get("eth.type", implied_eth_type(asked)) == f.ETH_P_IPV6 else 4
    return SocketCall(
        operation,
        AF_INET if family == 4 else AF_INET6,
        implied_protocol(asked),
        asked.get(f"ip{family}.dst", DEFAULT_DST[family]),
        asked.get("th.dport", DEFAULT_DPORT),
        asked.get("sock.uid", 0),
        asked.get("sock.cgroup", 0),
    )


def unmet(found: Facts, asked: Asked) -> list[str]:
    """Fields that a decoded packet does not have as asked."""
    return [name for name, value in asked.items() if found.get(name) != value]


def implied_eth_type(asked: Asked) -> int:
    """The EtherType that the other fields speak of; IPv4 when none does."""
    spoken = {name.partition(".")[0] for name in asked}
    if "ip4" not in spoken and ("ip6" in spoken or implied_protocol(asked) == f.IPPROTO_ICMPV6):
        return f.ETH_P_IPV6
    return f.ETH_P_ARP if "arp" in spoken else f.ETH_P_IP


def implied_protocol(asked: Asked) -> int:
    """The protocol that is asked for or that the other fields speak of; TCP when none does."""
    spoken = {name.partition(".")[0] for name in asked}
    of = {"icmp": f.IPPROTO_ICMP, "icmp6": f.IPPROTO_ICMPV6}
    return asked.get("ip.proto", next((of[word] for word in of if word in spoken), f.IPPROTO_TCP))


def _other(asked: Asked) -> bytes:
    return bytes(OTHER_BYTES)


def _arp(asked: Asked) -> bytes:
    return (
        ARP_ETHERNET_IPV4
        + struct.pack("!H", asked.get("arp.op", 1))
        + asked.get("arp.sha", SENDER).to_bytes(6)
        + asked.get("arp.spa", DEFAULT_SRC[4]).to_bytes(4)
        + asked.get("arp.tha", 0).to_bytes(6)
        + asked.get("arp.tpa", DEFAULT_DST[4]).to_bytes(4)
    )


def _ip4(asked: Asked) -> bytes:
    src = asked.get("ip4.src", DEFAULT_SRC[4]).to_bytes(4)
    dst = asked.get("ip4.dst", DEFAULT_DST[4]).to_bytes(4)
    options = NO_OPERATION * (asked.get("ip4.options", 0) & ~3)
    payload = _payload(asked, 4, src, dst, 20 + len(options))
    fragment = {FIRST: 0x2000, LATER: 1}.get(asked.get("ip.fragment", 0), 0)
    head = struct.pack(
        "!BBHHHBBH",
        0x45 + len(options) // 4,
        _traffic_class(asked),
        20 + len(options) + len(payload),
        0,
        fragment,
        asked.get("ip.ttl", DEFAULT_TTL),
        implied_protocol(asked),
        0,
    )
    sum_ = struct.pack("!H", checksum(head + src + dst + options))
    return head[:10] + sum_ + src + dst + options + payload


def _ip6(asked: Asked) -> bytes:
    src = asked.get("ip6.src", DEFAULT_SRC[6]).to_bytes(16)
    dst = asked.get("ip6.dst", DEFAULT_DST[6]).to_bytes(16)
    following, behind = implied_protocol(asked), b""
    for field, number in reversed(EXTENSIONS):
        if _has_extension(asked, field):
            following, behind = number, _extension(asked, number, following) + behind
    payload = behind + _payload(asked, 6, src, dst, 40 + len(behind))
    word = 6 << 28 | _traffic_class(asked) << 20
    ttl = asked.get("ip.ttl", DEFAULT_TTL)
    return struct.pack("!IHBB", word, len(payload), following, ttl) + src + dst + payload


_NETWORKS = {f.ETH_P_ARP: _arp, f.ETH_P_IP: _ip4, f.ETH_P_IPV6: _ip6}


def _traffic_class(asked: Asked) -> int:
    return asked.get("ip.dscp", 0) << 2 | asked.get("ip.ecn", 0)


def _has_extension(asked: Asked, field: str) -> bool:
    if field == "ip6.routing" and ("ip6.routing-type" in asked or "ip6.segments-left" in asked):
        return True
    if field == "ip6.frag-header" and asked.get("ip.fragment", 0):
        return True
    return bool(asked.get(field, 0))


def _extension(asked: Asked, number: int, following: int) -> bytes:
    """One extension header, the smallest there is of its kind."""
    match number:
        case 43:
            kind, left = asked.get("ip6.routing-type", 0), asked.get("ip6.segments-left", 0)
            return bytes((following, 0, kind, left, 0, 0, 0, 0))
        case 44:
            place = {FIRST: 1, LATER: 1 << 3}.get(asked.get("ip.fragment", 0), 0)
            return struct.pack("!BBHI", following, 0, place, 1)
        case 51:
            return bytes((following, 4)) + bytes(22)  # 24 bytes: six units of four, less two
        case 135:
            return bytes((following, 0)) + bytes(6)
    return bytes((following, 0)) + PAD_6


def _payload(asked: Asked, family: int, src: bytes, dst: bytes, before: int) -> bytes:
    """Transport header and data; `before`: bytes of the IP packet that come before it."""
    if asked.get("ip.fragment") == LATER:
        return bytes(max(8, asked.get("ip.length", 0) - before))
    head, sum_at = _transport(asked, family)
    data = bytes(max(0, asked.get("ip.length", 0) - before - len(head)))
    protocol = implied_protocol(asked)
    if protocol == f.IPPROTO_SCTP:
        return head[:8] + struct.pack("<I", crc32c(head + data)) + data
    if protocol == f.IPPROTO_UDP:
        head = head[:4] + struct.pack("!H", (len(head) + len(data)) & 0xFFFF) + head[6:]
    if sum_at is None:
        return head + data
    # The pseudo header gives the same 16-bit sum for both families (RFC 9293 §3.1, RFC 8200 §8.1).
    pseudo = src + dst + struct.pack("!II", len(head) + len(data), protocol)
    if protocol == f.IPPROTO_ICMP:
        pseudo = b""
    sum_ = checksum(pseudo + head + data) or 0xFFFF
    return head[:sum_at] + struct.pack("!H", sum_) + head[sum_at + 2 :] + data


def _transport(asked: Asked, family: int) -> tuple[bytes, int | None]:
    """Transport header, its checksum zero, and where that lies."""
    protocol = implied_protocol(asked)
    sport, dport = asked.get("th.sport", DEFAULT_SPORT), asked.get("th.dport", DEFAULT_DPORT)
    if protocol == f.IPPROTO_TCP:
        options = NO_OPERATION * (max(0, asked.get("tcp.header", 20) - 20) & ~3)
        offset = (20 + len(options)) // 4 << 4
        flags, window = asked.get("tcp.flags", SYN), asked.get("tcp.window", DEFAULT_WINDOW)
        return struct.pack("!HHIIBBHHH", sport, dport, 1, 0, offset, flags, window, 0, 0) + options, 16
    if protocol == f.IPPROTO_UDP:
        return struct.pack("!HHHH", sport, dport, 8, 0), 6
    if protocol == f.IPPROTO_SCTP:
        return struct.pack("!HHII", sport, dport, 0, 0), 8
    if (family, protocol) in ((4, f.IPPROTO_ICMP), (6, f.IPPROTO_ICMPV6)):
        name = "icmp" if family == 4 else "icmp6"
        kind = asked.get(f"{name}.type", ECHO_REQUEST[protocol])
        return struct.pack("!BBHHH", kind, asked.get(f"{name}.code", 0), 0, 1, 1), 2
    return bytes(8), None


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of bytes whose checksum field is zero."""
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def crc32c(data: bytes) -> int:
    """The CRC of SCTP (RFC 9260, appendix A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
