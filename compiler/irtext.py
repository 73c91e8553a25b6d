"""What the text forms of both IRs share: words of a line, values the way people write them, sets.

    {10.0.0.0/8, 192.0.2.1-192.0.2.9}   {80, 1024-65535}   {0x0800}   "quoted text"

Values are written in the field's style: addresses and prefixes, MAC addresses, 0x and four digits, decimal.
What is printed reads back to an equal value. Knows no IR.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[{},]|[^\s{},"]+)')


class IrSyntaxError(ValueError):
    """IR text that cannot be read; names the line (from 1)."""

    def __init__(self, line: int, message: str) -> None:
        self.line = line
        super().__init__(f"line {line}: {message}")


class Words:
    """The words of one line, read from left to right. Raises IrSyntaxError for what is not there."""

    def __init__(self, text: str, line: int) -> None:
        self.line = line
        self._words = _split(text, line)
        self._at = 0

    def peek(self) -> str | None:
        """The next word, None at the end of the line."""
        return self._words[self._at] if self._at < len(self._words) else None

    def next(self) -> str:
        """The next word, taken."""
        word = self.peek()
        if word is None:
            raise self.error("the line ends too early")
        self._at += 1
        return word

    def take(self, word: str) -> bool:
        """Take the next word if it is this one."""
        if self.peek() != word:
            return False
        self._at += 1
        return True

    def expect(self, *words: str) -> None:
        """Take exactly these words."""
        for word in words:
            found = self.peek()
            if not self.take(word):
                raise self.error(f"expected `{word}`, found `{found or 'the end of the line'}`")

    def number(self) -> int:
        """A number, decimal or with 0x."""
        word = self.next()
        try:
            return int(word, 0)
        except ValueError:
            raise self.error(f"`{word}` is not a number") from None

    def string(self) -> str:
        """A quoted text, without its quotes."""
        word = self.next()
        if not word.startswith('"'):
            raise self.error(f"expected a quoted text, found `{word}`")
        try:
            text: str = json.loads(word)
        except ValueError:
            raise self.error(f"{word} is not a quoted text") from None
        return text

    def value_set(self, style: str) -> IntervalSet:
        """A set in braces."""
        ranges: list[tuple[int, int]] = []
        self.expect("{")
        while not self.take("}"):
            if ranges:
                self.expect(",")
            ranges.append(self.value_range(style))
        return IntervalSet.from_ranges(ranges)

    def value_range(self, style: str) -> tuple[int, int]:
        """One element of a set: a value, `low-high`, or a prefix."""
        word = self.next()
        try:
            return _read_range(word, style)
        except ValueError:
            raise self.error(f"`{word}` is not a value or range") from None

    def rest(self) -> tuple[str, ...]:
        """All words that are left, taken."""
        self._at, left = len(self._words), self._words[self._at :]
        return tuple(left)

    def end(self) -> None:
        """The line must end here."""
        if (word := self.peek()) is not None:
            raise self.error(f"unexpected `{word}`")

    def error(self, message: str) -> IrSyntaxError:
        """An error at this line, to be raised."""
        return IrSyntaxError(self.line, message)


def lines(text: str) -> Iterator[Words]:
    """The words of every line that is not empty; `#` at the start of a line begins a comment."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield Words(line, number)


def quoted(text: str) -> str:
    """The text in quotes, on one line."""
    return json.dumps(text)


def style_of_keys(width_bits: int) -> str:
    """How keys of a table are written."""
    return {32: "ip4", 128: "ip6"}.get(width_bits, "int")


def style_of(field: str) -> str:
    """How values of a field or live field are written; an unknown one has numbers."""
    row = fields.BY_NAME.get(field)
    return "int" if row is None or row.style in ("device", "cgroup") else row.style


def print_set(values: IntervalSet, style: str) -> str:
    """A set in braces."""
    return "{" + ", ".join(print_range(low, high, style) for low, high in values) + "}"


def print_range(low: int, high: int, style: str) -> str:
    """One value, a prefix where the style has prefixes and the range is one, else `low-high`."""
    if low == high:
        return print_value(low, style)
    size = high - low + 1
    if style in ("ip4", "ip6") and size & (size - 1) == 0 and low % size == 0:
        return f"{print_value(low, style)}/{_width(style) - size.bit_length() + 1}"
    return f"{print_value(low, style)}-{print_value(high, style)}"


def print_value(value: int, style: str) -> str:
    """One value."""
    if style == "ip4":
        return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"
    if style == "ip6":
        return str(IPv6Address(value))
    if style == "mac":
        return value.to_bytes(6).hex(":")
    return f"{value:#06x}" if style == "hex" else str(value)


def _read_range(word: str, style: str) -> tuple[int, int]:
    if style in ("ip4", "ip6") and "/" in word:
        address, _, length = word.partition("/")
        low = _read_value(address, style)
        return low, low + (1 << (_width(style) - int(length))) - 1
    first, dash, last = word.partition("-")
    low = _read_value(first, style)
    return low, _read_value(last, style) if dash else low


def _read_value(word: str, style: str) -> int:
    if style == "ip4":
        return int(IPv4Address(word))
    if style == "mac":
        return int(word.replace(":", ""), 16)
    return int(IPv6Address(word)) if style == "ip6" else int(word, 0)


def _width(style: str) -> int:
    return 32 if style == "ip4" else 128


def _split(text: str, line: int) -> list[str]:
    words: list[str] = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise IrSyntaxError(line, f"cannot read `{text[at:]}`")
        words.append(found[1])
        at = found.end()
    return words
