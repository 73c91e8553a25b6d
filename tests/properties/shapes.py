"""Frames before they are bytes: every shape that the decoder tells apart.

Put together byte by byte from the RFCs and not with the compiler's own packet builder: what is judged must
not also be the judge.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

MACS = bytes.fromhex("020000000002020000000001")
TPIDS = (0x8100, 0x88A8)
IP4, IP6, ARP = 0x0800, 0x86DD, 0x0806
ICMP, TCP, UDP, ICMP6, SCTP = 1, 6, 17, 58, 132
HOP, ROUTING, FRAGMENT, AH, DESTINATION, MOBILITY = 0, 43, 44, 51, 60, 135
ESP, NO_NEXT, GRE, EXPERIMENT = 50, 59, 47, 253


@dataclass
class Extension:
    """One IPv6 extension header. `units`: its length field; `place`: fragment offset and flag, as sent."""

    kind: int
    units: int = 0
    place: int = 0
    filling: bytes = b""  # behind the first two bytes; for a routing header: type, segments left, …

    def bytes(self, following: int) -> bytes:
        """The header, naming the one behind it."""
        if self.kind == FRAGMENT:
            return struct.pack("!BBHI", following, self.units, self.place, 7)
        length = (self.units + 2) * 4 if self.kind == AH else (self.units + 1) * 8
        return (bytes((following, self.units)) + self.filling).ljust(length, b"\1")


@dataclass
class Shape:
    """A frame before it is bytes. Lengths are right unless `wrong_*` says how far they are off; `cut`: bytes
    kept of the frame; `padding`: bytes behind the packet; `version` and `ihl` None: as they should be."""

    eth_type: int = IP4
    macs: bytes = MACS
    tags: tuple[tuple[int, int], ...] = ()  # TPID and TCI, the outermost first
    traffic_class: int = 0
    ttl: int = 64
    window: int = 9
    icmp_code: int = 0
    arp: bytes = b""  # the packet behind the link header, when the frame is ARP
    src: int = 0
    dst: int = 0
    protocol: int = TCP
    sport: int = 40000
    dport: int = 80
    flags: int = 2
    icmp_type: int = 8
    data_offset: int = 5
    tcp_options: int = 0
    payload: bytes = b""
    options: int = 0  # bytes of IPv4 options
    fragment: int = 0  # IPv4 flags and offset, as on the wire
    extensions: list[Extension] = field(default_factory=list)
    version: int | None = None
    ihl: int | None = None
    wrong_length: int = 0
    padding: int = 0
    cut: int | None = None
    mark: int = 0
    iif: int | None = 0

    @property
    def later_fragment(self) -> bool:
        """Whether the packet lacks the transport header."""
        if self.eth_type == IP4:
            return bool(self.fragment & 0x1FFF)
        return any(e.kind == FRAGMENT and e.place & 0xFFF8 for e in self.extensions)

    def transport(self) -> bytes:
        """Transport header and payload."""
        if self.protocol == TCP:
            head = struct.pack(
                "!HHIIBB",
                self.sport,
                self.dport,
                self.sport << 15,
                -self.dport & 0xFFFFFFFF,
                self.data_offset << 4,
                self.flags,
            )
            head += struct.pack("!HHH", self.window, 0, 0) + b"\1" * self.tcp_options
        elif self.protocol == UDP:
            head = struct.pack("!HHHH", self.sport, self.dport, 8 + len(self.payload), 0)
        elif self.protocol == SCTP:
            head = struct.pack("!HHII", self.sport, self.dport, 8, 0)
        elif self.protocol in (ICMP, ICMP6):
            head = struct.pack("!BBHI", self.icmp_type, self.icmp_code, 0, 0)
        else:
            head = b""
        return head + self.payload

    def network(self) -> bytes:
        """The packet from its network header on."""
        body = self.payload if self.later_fragment else self.transport()
        if self.eth_type == IP4:
            length = 20 + self.options + len(body) + self.wrong_length
            version = 4 if self.version is None else self.version
            ihl = 5 + self.options // 4 if self.ihl is None else self.ihl
            head = struct.pack(
                "!BBHHHBBH",
                version << 4 | ihl,
                self.traffic_class,
                length & 0xFFFF,
                1,
                self.fragment,
                self.ttl,
                self.protocol,
                0,
            )
            return head + self.src.to_bytes(4) + self.dst.to_bytes(4) + b"\1" * self.options + body
        if self.eth_type == IP6:
            following = self.protocol
            for extension in reversed(self.extensions):
                body, following = extension.bytes(following) + body, extension.kind
            length = (len(body) + self.wrong_length) & 0xFFFF
            version = 6 if self.version is None else self.version
            word = version << 28 | self.traffic_class << 20
            head = struct.pack("!IHBB", word, length, following, self.ttl)
            return head + self.src.to_bytes(16) + self.dst.to_bytes(16) + body
        return self.arp if self.eth_type == ARP else self.payload

    def frame(self) -> bytes:
        """The frame's bytes."""
        out = self.macs + b"".join(struct.pack("!HH", tpid, tci) for tpid, tci in self.tags)
        out += struct.pack("!H", self.eth_type) + self.network() + b"\xaa" * self.padding
        return out if self.cut is None else out[: self.cut]


def arp(operation: int = 1) -> bytes:
    """An ARP packet for Ethernet and IPv4."""
    sender, target = MACS[6:] + b"\x0a\0\0\1", bytes(6) + b"\x0a\0\0\2"
    return struct.pack("!HHBBH", 1, IP4, 6, 4, operation) + sender + target
