"""The packet that answers a rejected one: the reference that generated code must agree with.

Sources: RFC 9293 §3.10.7.1 (reset: the answer of a closed port), RFC 792 and RFC 1812 §4.3.2 (ICMP errors,
whom they may answer), RFC 1122 §3.2.2, RFC 4443 §2.4 and §3.1. What is answered gets one answer and no more:
nobody answers a reset, an ICMP error, a later fragment, or a packet that was for many.
"""

from __future__ import annotations

import struct

from .answers import PACKETS, UNREACHABLE4, UNREACHABLE6
from .fields import (
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_TCP,
)
from .headers import checksum, ip_packet, network_header, transport_header

FIN, SYN, RST, ACK = 1, 2, 4, 16
TTL = 64
DONT_FRAGMENT = 0x4000
QUOTE = 128  # bytes of the rejected packet that an ICMP error brings back, at most; RFC 1812 asks for 28
# ICMP errors, and redirects: RFC 792, RFC 1122 §3.2.2. Of ICMPv6 all types below 128, and redirects.
ICMP_ERRORS = frozenset({3, 4, 5, 11, 12})
ICMP6_INFORMATION, ICMP6_REDIRECT = 128, 137


def reply(frame: bytes, how: str = "", tag_in_metadata: bool = False) -> bytes | None:
    """The frame that goes back, None when there is no answer. `how`: a key of `answers.PACKETS`."""
    at, ethertype = network_header(frame, tag_in_metadata)
    packet = ip_packet(frame, at, ethertype)
    if not packet or frame[0] & 1:  # a group address: broadcast or multicast
        return None
    found = transport_header(packet)
    if found is None or not (_of_one_host(packet) and _may_be_answered(packet, *found)):
        return None
    answer = PACKETS[how]
    protocol, transport = found
    if protocol == IPPROTO_TCP and answer.reset:
        body = _reset(packet, transport)
    elif answer.codes is not None:
        code = answer.codes[packet[0] >> 4 == 6]
        protocol, body = _unreachable(packet, code)
    else:
        return None
    return frame[6:12] + frame[0:6] + frame[12:at] + _network(packet, protocol, body)


def _of_one_host(packet: bytes) -> bool:
    """Whether source and destination are addresses that one host can have."""
    if packet[0] >> 4 == 4:
        return all(0 < packet[side] < 224 for side in (12, 16))  # not 0/8, 224/4, 240/4
    unspecified = bytes(16)
    return all(side != unspecified and side[0] != 0xFF for side in (packet[8:24], packet[24:40]))


def _may_be_answered(packet: bytes, protocol: int, at: int) -> bool:
    if protocol == IPPROTO_TCP:
        return not packet[at + 13] & RST
    if protocol == IPPROTO_ICMP and packet[0] >> 4 == 4:
        return packet[at] not in ICMP_ERRORS
    if protocol == IPPROTO_ICMPV6 and packet[0] >> 4 == 6:
        return packet[at] >= ICMP6_INFORMATION and packet[at] != ICMP6_REDIRECT
    return True


def _addresses(packet: bytes) -> bytes:
    """Source and destination of the answer."""
    if packet[0] >> 4 == 4:
        return packet[16:20] + packet[12:16]
    return packet[24:40] + packet[8:24]


def _network(packet: bytes, protocol: int, body: bytes) -> bytes:
    """An IP packet back to where `packet` came from."""
    addresses = _addresses(packet)
    if packet[0] >> 4 == 6:
        return struct.pack("!IHBB", 6 << 28, len(body), protocol, TTL) + addresses + body
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, DONT_FRAGMENT, TTL, protocol, 0)
    return head[:10] + checksum(head + addresses).to_bytes(2) + addresses + body


def _reset(packet: bytes, at: int) -> bytes:
    """A TCP header with RST: the peer's own acknowledgment as sequence number if it sent one, else zero and
    an acknowledgment of all it sent."""
    sport, dport, seq, ack, offset, flags = struct.unpack_from("!HHIIBB", packet, at)
    if flags & ACK:
        numbers = (ack, 0, RST)
    else:
        length = len(packet) - at - (offset >> 4) * 4 + bool(flags & SYN) + bool(flags & FIN)
        numbers = (0, (seq + length) & 0xFFFFFFFF, RST | ACK)
    head = struct.pack("!HHIIBBHHH", dport, sport, *numbers[:2], 5 << 4, numbers[2], 0, 0, 0)
    pseudo = _addresses(packet) + struct.pack("!II", len(head), IPPROTO_TCP)
    return head[:16] + checksum(pseudo + head).to_bytes(2) + head[18:]


def _unreachable(packet: bytes, code: int) -> tuple[int, bytes]:
    """(protocol, an ICMP message that quotes the packet)."""
    if packet[0] >> 4 == 4:
        body = struct.pack("!BBHI", UNREACHABLE4, code, 0, 0) + packet[:QUOTE]
        return IPPROTO_ICMP, body[:2] + checksum(body).to_bytes(2) + body[4:]
    body = struct.pack("!BBHI", UNREACHABLE6, code, 0, 0) + packet[:QUOTE]
    pseudo = _addresses(packet) + struct.pack("!II", len(body), IPPROTO_ICMPV6)
    return IPPROTO_ICMPV6, body[:2] + checksum(pseudo + body).to_bytes(2) + body[4:]
