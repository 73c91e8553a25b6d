"""Packets as text, as values and as bytes: for tests, `expect`, `lockgate eval` and witnesses.

    tcp 10.0.0.1:4000 > 10.0.0.2:80 syn        udp [2001:db8::1]:53 > [2001:db8::2]:53
    icmp 10.0.0.1 > 10.0.0.2 type 8            10.0.0.1 > 10.0.0.2 protocol 47
    arp                                        hex 0011223344…
    connect tcp 10.0.0.1:80                    sendmsg udp [::ffff:10.0.0.1]:53

What is left out has a default: TCP with SYN, ports 40000 and 80, TTL 64, 192.0.2.1 to 198.51.100.1 and
2001:db8::1 to 2001:db8::2. Knows headers (RFC 791, 8200, 9293, 768, 9260, 792, 4443, 826, 1071); must never
know a policy. Numbers are integers in host order.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace

from lockgate.stdlib_bpf import fields as f
from lockgate.stdlib_bpf.decode.sock_addr import AF_INET, AF_INET6, SocketCall

FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ece": 64, "cwr": 128}
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmp6": 58}
ECHO_REQUEST = {f.IPPROTO_ICMP: 8, f.IPPROTO_ICMPV6: 128}
ICMP_TYPES = {
    f.IPPROTO_ICMP: {"echo-reply": 0, "destination-unreachable": 3, "echo-request": 8, "time-exceeded": 11},
    f.IPPROTO_ICMPV6: {
        "destination-unreachable": 1,
        "packet-too-big": 2,
        "time-exceeded": 3,
        "echo-request": 128,
        "echo-reply": 129,
        "router-solicit": 133,
        "router-advert": 134,
        "neighbour-solicit": 135,
        "neighbour-advert": 136,
    },
}
WIDTH_BYTES = {4: 4, 6: 16}
DEFAULT_SRC = {4: 0xC0000201, 6: 0x20010DB8 << 96 | 1}
DEFAULT_DST = {4: 0xC6336401, 6: 0x20010DB8 << 96 | 2}
DEFAULT_SPORT, DEFAULT_DPORT, DEFAULT_TTL = 40000, 80, 64
MACS = bytes.fromhex("020000000002") + bytes.fromhex("020000000001")  # destination, source; both local


class PacketTextError(ValueError):
    """Text that is no packet; the message says what is wrong and what would be right."""


@dataclass(frozen=True)
class Packet:
    """One unfragmented packet. `family` 4 or 6; `protocol` an IP protocol number; ports matter for TCP, UDP
    and SCTP, `flags` for TCP, `icmp_type` (None: echo request) for ICMP."""

    family: int = 4
    protocol: int = f.IPPROTO_TCP
    src: int | None = None
    dst: int | None = None
    sport: int = DEFAULT_SPORT
    dport: int = DEFAULT_DPORT
    flags: int = FLAGS["syn"]
    icmp_type: int | None = None

    def frame(self) -> bytes:
        """The Ethernet frame, with right lengths and checksums."""
        width = WIDTH_BYTES[self.family]
        src = (DEFAULT_SRC[self.family] if self.src is None else self.src).to_bytes(width)
        dst = (DEFAULT_DST[self.family] if self.dst is None else self.dst).to_bytes(width)
        payload = self._payload(src, dst)
        if self.family == 6:
            head = struct.pack("!IHBB", 6 << 28, len(payload), self.protocol, DEFAULT_TTL)
            return MACS + struct.pack("!H", f.ETH_P_IPV6) + head + src + dst + payload
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, DEFAULT_TTL, self.protocol, 0)
        head = head[:10] + struct.pack("!H", checksum(head + src + dst)) + src + dst
        return MACS + struct.pack("!H", f.ETH_P_IP) + head + payload

    def _payload(self, src: bytes, dst: bytes) -> bytes:
        if self.protocol == f.IPPROTO_TCP:
            head = struct.pack("!HHIIBBHHH", self.sport, self.dport, 1, 0, 0x50, self.flags, 65535, 0, 0)
            return _with_checksum(head, 16, self._pseudo(src, dst, len(head)))
        if self.protocol == f.IPPROTO_UDP:
            head = struct.pack("!HHHH", self.sport, self.dport, 8, 0)
            return _with_checksum(head, 6, self._pseudo(src, dst, len(head)))
        if self.protocol == f.IPPROTO_SCTP:
            head = struct.pack("!HHI", self.sport, self.dport, 0)
            return head + struct.pack("<I", crc32c(head + bytes(4)))
        if (self.family, self.protocol) in ((4, f.IPPROTO_ICMP), (6, f.IPPROTO_ICMPV6)):
            kind = ECHO_REQUEST[self.protocol] if self.icmp_type is None else self.icmp_type
            head = struct.pack("!BBHHH", kind, 0, 0, 1, 1)
            return _with_checksum(head, 2, self._pseudo(src, dst, len(head)) if self.family == 6 else b"")
        return bytes(8)

    def _pseudo(self, src: bytes, dst: bytes, length: int) -> bytes:
        """The pseudo header: the same 16-bit sum for both families (RFC 9293 §3.1, RFC 8200 §8.1)."""
        return src + dst + struct.pack("!II", length, self.protocol)

    def call(self, operation: str = "connect") -> SocketCall:
        """The socket call that would send it; `operation`: "connect" or "sendmsg"."""
        address = DEFAULT_DST[self.family] if self.dst is None else self.dst
        family = AF_INET if self.family == 4 else AF_INET6
        return SocketCall(operation, family, self.protocol, address, self.dport)


def arp_frame() -> bytes:
    """An ARP request of 192.0.2.1 for 198.51.100.1 (RFC 826)."""
    body = struct.pack("!HHBBH", 1, f.ETH_P_IP, 6, 4, 1) + MACS[6:] + DEFAULT_SRC[4].to_bytes(4)
    return (
        b"\xff" * 6 + MACS[6:] + struct.pack("!H", f.ETH_P_ARP) + body + bytes(6) + DEFAULT_DST[4].to_bytes(4)
    )


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


def _with_checksum(head: bytes, offset: int, pseudo: bytes) -> bytes:
    return head[:offset] + struct.pack("!H", checksum(pseudo + head) or 0xFFFF) + head[offset + 2 :]


# ---- text to packets ----

_ENDPOINT = re.compile(r"\[(?P<v6>[^\]]*)\](?::(?P<port6>\d+))?$|(?P<v4>[\d.]+)(?::(?P<port4>\d+))?$")


def parse(text: str) -> bytes | SocketCall:
    """A frame or socket call from text. Raises PacketTextError."""
    words = text.split()
    if not words:
        raise PacketTextError("no packet: write, for example, `tcp 10.0.0.1:4000 > 10.0.0.2:80 syn`")
    if words[0] == "hex":
        return _hex("".join(words[1:]))
    if words == ["arp"]:
        return arp_frame()
    if words[0] in ("connect", "sendmsg"):
        return _call(words)
    return _packet(words).frame()


def _hex(digits: str) -> bytes:
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise PacketTextError("`hex` wants an even number of digits 0-9 and a-f") from None


def _call(words: list[str]) -> SocketCall:
    if len(words) != 3 or words[1] not in PROTOCOLS:
        raise PacketTextError(f"write `{words[0]} tcp 10.0.0.1:80` or `{words[0]} udp [2001:db8::1]:53`")
    family, address, port = _endpoint(words[2])
    dport = DEFAULT_DPORT if port is None else port
    return Packet(family, PROTOCOLS[words[1]], dst=address, dport=dport).call(words[0])


def _packet(words: list[str]) -> Packet:
    protocol = PROTOCOLS.get(words[0])
    rest = words if protocol is None else words[1:]
    packet = Packet(
        family=6 if protocol == f.IPPROTO_ICMPV6 else 4,
        protocol=f.IPPROTO_TCP if protocol is None else protocol,
    )
    if rest and rest[0] != "type" and (protocol is None or (rest[0][0] in "[.0123456789")):
        if len(rest) < 3 or rest[1] != ">":
            raise PacketTextError(
                f"`{' '.join(words)}` needs a source and a destination: `SOURCE > DESTINATION`"
            )
        (family, src, sport), (other, dst, dport) = _endpoint(rest[0]), _endpoint(rest[2])
        if family != other:
            raise PacketTextError(f"`{rest[0]}` and `{rest[2]}` are of different IP families")
        packet = replace(packet, family=family, src=src, dst=dst)
        packet = packet if sport is None else replace(packet, sport=sport)
        packet = packet if dport is None else replace(packet, dport=dport)
        rest = rest[3:]
    return _details(packet, rest)


def _details(packet: Packet, words: list[str]) -> Packet:
    """What follows the addresses: `type T`, `protocol N`, TCP flags."""
    if not words:
        return packet
    if words[0] == "protocol" and len(words) == 2:
        return replace(packet, protocol=_number(words[1], 255, "a protocol number"))
    if words[0] == "type" and len(words) == 2:
        named = ICMP_TYPES.get(packet.protocol, {}).get(words[1])
        return replace(packet, icmp_type=_number(words[1], 255, "an ICMP type") if named is None else named)
    flags = 0
    for word in ",".join(words).split(","):
        if word == "none":
            continue
        if word not in FLAGS or packet.protocol != f.IPPROTO_TCP:
            raise PacketTextError(f"`{word}` is not understood: write TCP flags, `type T` or `protocol N`")
        flags |= FLAGS[word]
    return replace(packet, flags=flags)


def _endpoint(text: str) -> tuple[int, int, int | None]:
    """(family, address, port) of `10.0.0.1:80`, `[2001:db8::1]:80` or a bare address."""
    match = _ENDPOINT.match(text)
    address = (match["v6"] or match["v4"] or "") if match else text
    port = (match["port6"] or match["port4"]) if match else None
    family = 6 if ":" in address else 4
    try:
        packed = socket.inet_pton(socket.AF_INET6 if family == 6 else socket.AF_INET, address)
    except (OSError, ValueError):
        raise PacketTextError(
            f"`{text}` is not an address: write `10.0.0.1:80` or `[2001:db8::1]:80`"
        ) from None
    return family, int.from_bytes(packed), None if port is None else _number(port, 65535, "a port")


def _number(text: str, maximum: int, what: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 6 or int(text) > maximum:
        raise PacketTextError(f"`{text}` is not {what}: it must be 0 to {maximum}")
    return int(text)


# ---- packets to text ----


def describe(facts: Mapping[str, int]) -> str:
    """Short text of decoded fields, as `parse` reads it, for witnesses: what a packet with them looks like.
    Fields that are missing are left out or take their defaults."""
    eth_type, proto = facts.get("eth.type"), facts.get("ip.proto", f.IPPROTO_TCP)
    if eth_type == f.ETH_P_ARP:
        return "arp"
    if eth_type is not None and eth_type not in f.IP:
        return f"EtherType 0x{eth_type:04x}"
    family = 6 if eth_type == f.ETH_P_IPV6 or any(name.startswith("ip6.") for name in facts) else 4
    name = next((n for n, number in PROTOCOLS.items() if number == proto), None)
    ports = proto in f.WITH_PORTS and "th.dport" in facts
    ends = [
        _end_text(
            family, facts.get(f"ip{family}.{side}", default[family]), facts.get(port) if ports else None
        )
        for side, port, default in (("src", "th.sport", DEFAULT_SRC), ("dst", "th.dport", DEFAULT_DST))
    ]
    words = [] if name is None else [name]
    words += [ends[0], ">", ends[1]]
    if name is None:
        words += ["protocol", str(proto)]
    elif proto == f.IPPROTO_TCP and "tcp.flags" in facts:
        words.append(",".join(n for n, bit in FLAGS.items() if facts["tcp.flags"] & bit) or "none")
    elif (kind := facts.get("icmp.type", facts.get("icmp6.type"))) is not None:
        words += ["type", str(kind)]
    return " ".join(words)


def describe_call(facts: Mapping[str, int]) -> str:
    """Text of a socket call with these fields, as `parse` reads it."""
    family = 6 if facts.get("eth.type") == f.ETH_P_IPV6 or "ip6.dst" in facts else 4
    proto = facts.get("ip.proto", f.IPPROTO_TCP)
    name = next((n for n, number in PROTOCOLS.items() if number == proto), f"protocol {proto}")
    address = facts.get(f"ip{family}.dst", DEFAULT_DST[family])
    return f"connect {name} {_end_text(family, address, facts.get('th.dport', DEFAULT_DPORT))}"


def address_text(family: int, address: int) -> str:
    """An address as people write it."""
    if family == 6:
        return socket.inet_ntop(socket.AF_INET6, address.to_bytes(16))
    return socket.inet_ntop(socket.AF_INET, address.to_bytes(4))


def _end_text(family: int, address: int, port: int | None) -> str:
    text = address_text(family, address)
    text = f"[{text}]" if family == 6 else text
    return text if port is None else f"{text}:{port}"
