"""Addresses and prefixes from text, one at a time or 100,000 a file.

Knows notation and widths; must never know where a prefix is used. Values are integers in host order.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from lockgate.stdlib_bpf.sets import IntervalSet

from .model import Prefixes

MAPPED = 0xFFFF  # upper 96 bits of ::ffff:0:0/96


@dataclass(frozen=True)
class Prefix:
    """`family` 4 or 6; addresses `low` to `high`."""

    family: int
    low: int
    high: int

    @property
    def prefixes(self) -> Prefixes:
        """As a set."""
        values = IntervalSet(((self.low, self.high),))
        return Prefixes(v4=values) if self.family == 4 else Prefixes(v6=values)


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


def parse(text: str) -> Prefix:
    """An address or prefix. Raises BadPrefix, HostBitsSet, Mapped."""
    address, slash, length_text = text.partition("/")
    family, width = (6, 128) if ":" in address else (4, 32)
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
    return Prefix(family, low, low + size)


@dataclass(frozen=True)
class BadLine:
    """A line of a prefix file that is no prefix: where its text stands, and why it is none."""

    start: int
    end: int
    reason: BadPrefix


def parse_lines(text: str) -> tuple[Prefixes, int, list[BadLine]]:
    """The prefixes of a file (one a line, `#` begins a comment), how many entries it has, and its bad
    lines. 100,000 lines take about a tenth of a second."""
    v4: list[tuple[int, int]] = []
    v6: list[tuple[int, int]] = []
    bad: list[BadLine] = []
    offset = 0
    pton, to_int, inet = socket.inet_pton, int.from_bytes, socket.AF_INET
    sizes = {str(n): (1 << (32 - n)) - 1 for n in range(33)}
    sizes[""] = 0
    for line in text.split("\n"):
        entry = line.partition("#")[0].strip()
        if entry:
            try:
                address, _, length = entry.partition("/")
                low = to_int(pton(inet, address))
                size = sizes[length]
                if low & size or entry[-1] == "/":
                    raise ValueError
                v4.append((low, low + size))
            except (OSError, ValueError, KeyError):
                try:
                    prefix = parse(entry)
                    (v4 if prefix.family == 4 else v6).append((prefix.low, prefix.high))
                except BadPrefix as reason:
                    start = offset + line.index(entry)
                    bad.append(BadLine(start, start + len(entry), reason))
        offset += len(line) + 1
    entries = len(v4) + len(v6)
    return Prefixes(IntervalSet.from_ranges(v4), IntervalSet.from_ranges(v6)), entries, bad
