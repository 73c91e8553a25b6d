"""Addresses and prefixes as people write them, in policies and for dynamic sets: one notation for both.

An IPv4 address is four decimal numbers, an IPv6 address is RFC 4291 §2.2 without a zone; a prefix length is
decimal, no bit is set below the mask, and IPv4-mapped addresses are refused, since they are judged as IPv4.
"""

from __future__ import annotations

import socket

WIDTHS = {4: 32, 6: 128}  # of an address, by family
MAPPED = 0xFFFF  # upper 96 bits of ::ffff:0:0/96


class BadPrefix(ValueError):  # noqa: N818 - reads as what the text is
    """Text that is no prefix; the argument says why, in words that follow the text."""


class HostBitsSet(BadPrefix):
    """Bits set below the mask. `network` is the prefix with them cleared, `host` the bare address."""

    def __init__(self, network: str, host: str) -> None:
        self.network, self.host = network, host
        super().__init__("has bits set below its mask")


class Mapped(BadPrefix):
    """An IPv4-mapped IPv6 prefix; `v4` is what to write instead."""

    def __init__(self, v4: str) -> None:
        self.v4 = v4
        super().__init__("is an IPv4-mapped prefix")


def read_prefix(text: str) -> tuple[int, int, int]:
    """An address or prefix as (family 4 or 6, lowest address as an integer, prefix length). Raises BadPrefix,
    HostBitsSet, Mapped."""
    address, slash, length_text = text.partition("/")
    family = 6 if ":" in address else 4
    width = WIDTHS[family]
    try:
        packed = socket.inet_pton(socket.AF_INET6 if family == 6 else socket.AF_INET, address)
    except (OSError, ValueError):
        raise BadPrefix("is not an address") from None
    length = width
    if slash:
        if not (length_text.isascii() and length_text.isdigit()) or len(length_text) > 3:
            raise BadPrefix("has no prefix length behind its `/`")
        length = int(length_text)
        if length > width:
            raise BadPrefix(f"has a prefix length above {width}")
    low = int.from_bytes(packed)
    size = (1 << (width - length)) - 1
    if low & size:
        network = (low & ~size).to_bytes(width // 8)
        family_number = socket.AF_INET6 if family == 6 else socket.AF_INET
        raise HostBitsSet(f"{socket.inet_ntop(family_number, network)}/{length}", address)
    if family == 6 and low >> 32 == MAPPED and length >= 96:
        bare = socket.inet_ntop(socket.AF_INET, (low & 0xFFFFFFFF).to_bytes(4))
        raise Mapped(bare if length == 128 else f"{bare}/{length - 96}")
    return family, low, length
