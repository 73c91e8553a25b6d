"""Addresses and prefixes from text, one at a time or a million a file.

Knows notation and widths; must never know where a prefix is used. Values are integers in host order.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from operator import add, and_, rshift

from lockgate.stdlib_bpf.prefix_text import MAPPED, WIDTHS, BadPrefix, read_prefix
from lockgate.stdlib_bpf.sets import IntervalSet

from .model import Prefixes


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


def parse(text: str) -> Prefix:
    """An address or prefix. Raises BadPrefix, HostBitsSet, Mapped."""
    family, low, length = read_prefix(text)
    return Prefix(family, low, low | (1 << WIDTHS[family] - length) - 1)


@dataclass(frozen=True)
class BadLine:
    """A line of a prefix file that is no prefix: where its text stands, and why it is none."""

    start: int
    end: int
    reason: BadPrefix


@dataclass(frozen=True)
class Listed:
    """What a prefix file says. `entries`: how many of its lines are prefixes; `bad_count`: how many are none,
    of which the first are in `bad`."""

    prefixes: Prefixes
    entries: int
    bad: tuple[BadLine, ...]
    bad_count: int


def parse_lines(text: str, max_bad: int = 10, reached: Callable[[int], None] | None = None) -> Listed:
    """The prefixes of a file: one a line, `#` begins a comment. `reached`: hears now and then how
    many characters are read. A million lines take about a second."""
    ranges: Ranges = {4: [], 6: []}
    bad: list[BadLine] = []
    bad_count = 0
    for start, lines in _pieces(text):
        if reached:
            reached(start)
        entries = [entry for line in lines if (entry := _entry(line))]
        try:
            found = {4: _many([e for e in entries if ":" not in e], _V4)}
            found[6] = _many([e for e in entries if ":" in e], _V6)
        except (OSError, ValueError, KeyError):  # something that `_many` does not know: line by line
            found, wrong = _one_by_one(start, lines)
            bad_count += len(wrong)
            bad += wrong[: max_bad - len(bad)]
        for family, known in ranges.items():
            known += found[family]
    if reached:
        reached(len(text))
    value = Prefixes(*(IntervalSet.from_ranges(found) for found in ranges.values()))
    return Listed(value, sum(map(len, ranges.values())), tuple(bad), bad_count)


Ranges = dict[int, list[tuple[int, int]]]  # family → inclusive ranges of addresses
PIECE = 1 << 16  # characters parsed at once


@dataclass(frozen=True)
class _Family:
    """How addresses of a family are read. `sizes`: what may follow an address → the bits below its mask."""

    number: int
    width: int

    @cached_property
    def sizes(self) -> dict[str, int]:
        lengths = range(self.width + 1)
        return {"": 0} | {f"/{length}": (1 << (self.width - length)) - 1 for length in lengths}


_V4, _V6 = _Family(socket.AF_INET, 32), _Family(socket.AF_INET6, 128)


def _pieces(text: str) -> Iterator[tuple[int, list[str]]]:
    """The lines of a text, some at a time, and where the first of them begins."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + PIECE)
        end = len(text) if end < 0 else end
        yield start, text[start:end].split("\n")
        start = end + 1


def _entry(line: str) -> str:
    return line.partition("#")[0].strip()


def _many(entries: list[str], family: _Family) -> list[tuple[int, int]]:
    """Plain prefixes of one family, without a step of Python for each of their parts. OSError, ValueError or
    KeyError when there is anything else among them: `parse` knows what, and whether it is wrong."""
    parts = [entry.partition("/") for entry in entries]
    known = family.sizes
    sizes = [known[slash + length] for _, slash, length in parts]
    packed = map(socket.inet_pton, repeat(family.number), [address for address, _, _ in parts])
    lows = list(map(int.from_bytes, packed))
    if any(map(and_, lows, sizes)) or (family is _V6 and MAPPED in map(rshift, lows, repeat(32))):
        raise ValueError
    return list(zip(lows, map(add, lows, sizes), strict=True))


def _one_by_one(start: int, lines: list[str]) -> tuple[Ranges, list[BadLine]]:
    """The prefixes among lines of which the first begins at `start`, and the bad lines."""
    found: Ranges = {4: [], 6: []}
    bad: list[BadLine] = []
    for line in lines:
        if entry := _entry(line):
            try:
                prefix = parse(entry)
                found[prefix.family].append((prefix.low, prefix.high))
            except BadPrefix as reason:
                at = start + line.index(entry)
                bad.append(BadLine(at, at + len(entry), reason.with_traceback(None)))
        start += len(line) + 1
    return found, bad
