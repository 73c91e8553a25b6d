"""Where the headers of a frame begin, for those that rewrite frames, and the Internet checksum.

Only for frames that the decoder does not find malformed (`decode.frame`), which says what headers are.
"""

from __future__ import annotations

import struct

from .decode.frame import (
    AUTHENTICATION,
    EXTENSION_HEADERS,
    FRAGMENT,
    MAX_VLAN_TAGS,
    VLAN_TPIDS,
)
from .fields import ETH_P_IP, ETH_P_IPV6


def network_header(frame: bytes, tag_in_metadata: bool = False) -> tuple[int, int]:
    """(offset behind Ethernet header and tags, EtherType)."""
    at = 14
    for _ in range(MAX_VLAN_TAGS - tag_in_metadata):
        if int.from_bytes(frame[at - 2 : at]) not in VLAN_TPIDS:
            break
        at += 4
    return at, int.from_bytes(frame[at - 2 : at])


def transport_header(packet: bytes) -> tuple[int, int] | None:
    """(protocol, offset) of what an IP packet carries; None for a later fragment."""
    if packet[0] >> 4 == 4:
        later = int.from_bytes(packet[6:8]) & 0x1FFF
        return None if later else (packet[9], (packet[0] & 15) * 4)
    protocol, at = packet[6], 40
    while protocol in EXTENSION_HEADERS:
        length = (packet[at + 1] + 1) * 8
        if protocol == FRAGMENT:
            length = 8
            if int.from_bytes(packet[at + 2 : at + 4]) & 0xFFF8:
                return None
        elif protocol == AUTHENTICATION:
            length = (packet[at + 1] + 2) * 4
        protocol, at = packet[at], at + length
    return protocol, at


def ip_packet(frame: bytes, at: int, ethertype: int) -> bytes:
    """The IP packet at an offset, without what lies behind its own length; nothing where there is none."""
    if ethertype == ETH_P_IP:
        return frame[at : at + int.from_bytes(frame[at + 2 : at + 4])]
    if ethertype == ETH_P_IPV6:
        return frame[at : at + 40 + int.from_bytes(frame[at + 4 : at + 6])]
    return b""


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of bytes whose checksum field is zero."""
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
