"""How nft asks for a field: a word for each, and the text of a test.

A test may need alternatives (one of them holds), since nft has no "or" across expressions. Knows nft(8) and
sets of integers; must never know a rule, a hook or a policy. Raw words (`@ll,…`) stand where nft's own would
guard more than is asked, or take a tag for the whole header.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

from ..packet import address_text

INLINE = 4  # so many ranges stand in the rule itself
FLAGS = ("fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr")  # bit 0 first, in nft's words
TAGGED = "@ll,96,16 { 0x8100, 0x88a8 }"
UNTAGGED = "@ll,96,16 != { 0x8100, 0x88a8 }"

NameSet = Callable[[str, str], str]  # (nft's type, elements) → the set's name


@dataclass(frozen=True)
class Word:
    """`expression` asks; a field's value is `scale` times what nft has there, plus `offset`; `possible`: the
    values that packets have, None for the field's own; `type`: of a named set of such values, "" where sets
    must stand in the rule; `there`: asks whether the field is there, where it need not be; `style`: of
    values; `up`: nft's value stands so many bits further up, and what stands beside it is masked."""

    expression: str
    type: str = ""
    scale: int = 1
    offset: int = 0
    possible: IntervalSet | None = None
    there: str = ""
    style: str = "int"
    up: int = 0

    def test(self, field: str, values: IntervalSet, name_set: NameSet) -> str | None:
        """The text, "" for what always holds, None for what never does."""
        possible = self.possible or fields.lookup(field).possible
        inside, outside = values & possible, possible - values
        if not inside:
            return None
        if not outside:
            return self.there
        before = f"{self.there} " if self.there else ""
        few, many = self.elements(inside), self.elements(outside)
        if not few:
            return None
        if len(few) > 1 and len(many) == 1:
            return f"{before}{self.expression} != {many[0]}"
        if len(few) == 1:
            return f"{before}{self.expression} {self._one(few[0], inside, possible)}"
        said = ""
        if len(many) < len(few) and many:
            said, few = "!= ", many
        elements = ", ".join(few)
        if len(few) <= INLINE or not self.type:
            return f"{before}{self.expression} {said}{{ {elements} }}"
        return f"{before}{self.expression} {said}@{name_set(self.type, elements)}"

    def _one(self, text: str, inside: IntervalSet, possible: IntervalSet) -> str:
        """One value or range, as a comparison where it begins or ends with what is possible."""
        low, _, high = text.partition("-")
        if high and self.style == "int":
            if inside.ranges[0][0] == possible.ranges[0][0]:
                return f"<= {high}"
            if inside.ranges[-1][1] == possible.ranges[-1][1]:
                return f">= {low}"
        return f"== {text}" if "&" in self.expression else text

    def elements(self, values: IntervalSet) -> list[str]:
        """Ranges in nft's units; a value that nft cannot have is left out."""
        scaled = ((-(-(a - self.offset) // self.scale), (b - self.offset) // self.scale) for a, b in values)
        raw = IntervalSet.from_ranges((max(a, 0), b) for a, b in scaled if max(a, 0) <= b)
        if self.up:
            return [hex(value << self.up) for low, high in raw for value in range(low, high + 1)]
        return [self._range(low, high) for low, high in raw]

    def _range(self, low: int, high: int) -> str:
        if low == high:
            return value_text(self.style, low)
        width = {"ip4": 32, "ip6": 128}.get(self.style)
        size = high - low + 1
        if width and not (size & (size - 1) or low & (size - 1)):
            return f"{value_text(self.style, low)}/{width + 1 - size.bit_length()}"
        return f"{value_text(self.style, low)}-{value_text(self.style, high)}"


def value_text(style: str, value: int) -> str:
    """A value as nft reads it, by the field's style."""
    match style:
        case "ip4" | "ip6":
            return address_text(int(style[2]), value)
        case "mac":
            return value.to_bytes(6).hex(":")
        case "hex":
            return f"0x{value:04x}"
    return str(value)


def flags_test(values: IntervalSet) -> str:
    """A test of TCP flags: by a mask where the values are those of one, else by their list."""
    listed = [v for low, high in values for v in range(low, high + 1)]
    missing = [v for v in range(256) if v not in values]
    none_of = 0xFF
    for value in missing:
        none_of &= ~value
    if none_of and all(v & none_of for v in listed):
        return f"tcp flags & {_flags(none_of)} != 0"
    always, never = 0xFF, 0xFF
    for value in listed:
        always, never = always & value, never & ~value
    mask = always | never
    if len(listed) == 1 << (8 - mask.bit_count()):
        return f"tcp flags & {_flags(mask)} == {_flags(always)}"
    ranges = ", ".join(f"{a:#04x}" if a == b else f"{a:#04x}-{b:#04x}" for a, b in values)
    return f"@th,104,8 {{ {ranges} }}"


def _flags(bits: int) -> str:
    names = [name for i, name in enumerate(FLAGS) if bits >> i & 1]
    return "(" + "|".join(names) + ")" if len(names) > 1 else names[0] if names else "0x0"


def devices_test(values: IntervalSet, devices: tuple[str, ...]) -> str | None:
    """A test of where a packet arrived. `values`: places in `devices` from 1 on, 0 for any other device."""
    inside = [f'"{name}"' for place, name in enumerate(devices, 1) if place in values]
    outside = [f'"{name}"' for place, name in enumerate(devices, 1) if place not in values]
    if 0 in values:
        return f"iifname != {_of(outside)}" if outside else ""
    return f"iifname {_of(inside)}" if inside else None


def _of(names: list[str]) -> str:
    return names[0] if len(names) == 1 else "{ " + ", ".join(names) + " }"
