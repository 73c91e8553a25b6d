"""A box as the words of a rule: protocols, `from`, `to`, conditions, and `if` for the rest.

Knows which field is said by which word, and that both must mean the same packets; must never know where a box
came from. Pieces are docs of the formatter, so that long rules break where its do.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

from .. import codes
from ..syntax.docs import Break, Doc, Listing, Word
from .model import Box, full

WIDTHS = {"ip4": 32, "ip6": 128}
PROTOCOL_WORDS = {6: "tcp", 17: "udp", 132: "sctp"}
ICMP_WORDS = {(4, 1): "icmp", (6, 58): "icmp6"}
FLAG_NAMES = {bit: name for name, bit in codes.TCP_FLAGS.items()}
NOT_LATER = IntervalSet.of(0, 1)  # of ip.fragment
LEAST_AROUND = 2  # prefixes; more may be a difference
MOST_TYPES = 16  # ICMP types, likewise
MOST_KINDS = 6  # protocols that are listed; more become a condition

# What a set of values is called: given its kind ("network" or "ports") and the values, a name or None.
NameOf = Callable[[str, IntervalSet], str | None]


@dataclass(frozen=True)
class Sentences:
    """Makes rules of boxes. `family`: 4 or 6 where every packet is of it, 0 where both are about; `name_of`:
    names of values; `devices`: what numbers of `meta.iif` stand for."""

    family: int
    name_of: NameOf
    devices: Sequence[str] = ()

    def docs(self, box: Box) -> list[Doc]:
        """The sentence behind the action, without options."""
        left = {name: values for name, values in box.items() if values != full(name) or _tells(name)}
        if left.get("ip.fragment") == NOT_LATER and any(fields.lookup(n).transport for n in left):
            del left["ip.fragment"]  # a later fragment has no such field
        out = self._kinds(left)
        for side, word in (("src", "from"), ("dst", "to")):
            out += self._peer(left, side, word)
        for name in ("icmp.type", "icmp6.type"):
            if name in left and left[name].count <= MOST_TYPES:
                types = left.pop(name)
                every = [n for low, high in types for n in range(low, high + 1)]
                out += _behind("type", _one_or_list([_value(name, n) for n in every]))
        if "tcp.flags" in left and (said := _flags(left["tcp.flags"])):
            del left["tcp.flags"]
            out += _behind("flags", [Word(said)])
        return out + self._conditions(left)

    def family_of(self, box: Box) -> int:
        """4 or 6 when all its packets are of that family, else 0."""
        kinds = box.get("eth.type")
        if kinds is not None and kinds == fields.IP4:
            return 4
        return 6 if kinds is not None and kinds == fields.IP6 else self.family

    def _kinds(self, left: dict[str, IntervalSet]) -> list[Doc]:
        """Protocols, or the family where nothing else tells it."""
        family, protocols = self.family_of(left), left.get("ip.proto")
        words: list[str] = []
        if protocols is not None and protocols.count <= MOST_KINDS:
            numbers = [n for low, high in protocols for n in range(low, high + 1)]
            words = [PROTOCOL_WORDS.get(n) or ICMP_WORDS.get((family, n)) or f"protocol {n}" for n in numbers]
            del left["ip.proto"]
        said = bool(words) and all(word in ICMP_WORDS.values() for word in words)
        said |= any(f"ip{family}.{side}" in left for side in ("src", "dst"))
        said |= bool(self.family) and family == self.family
        said &= left.get("eth.type") in (fields.IP4, fields.IP6)
        if "eth.type" in left and said:
            del left["eth.type"]
        if "eth.type" in left and not words and left["eth.type"] in (fields.IP4, fields.IP6, fields.IP):
            kind = {fields.IP4: "ip4", fields.IP6: "ip6", fields.IP: "ip"}[left.pop("eth.type")]
            words = [kind]
        elif "eth.type" in left and words and left["eth.type"] == fields.IP:
            del left["eth.type"]
        return _commas([[Word(word)] for word in words])

    def _peer(self, left: dict[str, IntervalSet], side: str, word: str) -> list[Doc]:
        out: list[Doc] = []
        for style in ("ip4", "ip6"):
            values = left.pop(f"{style}.{side}", None)
            if values is not None:
                out += network(values, style, self.name_of)
        ports = left.pop("th.sport" if side == "src" else "th.dport", None)
        if ports is not None:
            out += [Word("port"), *port_list(ports, self.name_of)]
        return _behind(word, out) if out else []

    def _conditions(self, left: dict[str, IntervalSet]) -> list[Doc]:
        out: list[Doc] = []
        for name in sorted(left, key=fields.sort_key):
            test = self._device(left[name]) if name == "meta.iif" else _test(name, left[name])
            out += [Word("and", breaks=Break.IF_LONG), *test] if out else test
        return _behind("if", out) if out else []

    def _device(self, values: IntervalSet) -> list[Doc]:
        """A test of the interface that the packet arrived on."""
        inside = 0 not in values
        names: list[list[Doc]] = [
            [Word(f'"{name}"')] for i, name in enumerate(self.devices, 1) if (i in values) == inside
        ]
        if len(names) == 1:
            return [Word("meta.iif"), Word("==" if inside else "!="), *names[0]]
        said: list[Doc] = [Word("meta.iif"), Word("in"), listing(names)]
        return said if inside else [Word("not"), *said]


def _tells(name: str) -> bool:
    """Whether a test that every value satisfies still asks something: the field may be missing."""
    row = fields.lookup(name)
    return row.optional or row.transport


def _behind(word: str, docs: list[Doc]) -> list[Doc]:
    return [Word(word, breaks=Break.IF_LONG), *docs]


def _commas(items: Iterable[list[Doc]]) -> list[Doc]:
    out: list[Doc] = []
    for item in items:
        out += [Word(",", space=False), *item] if out else item
    return out


def listing(items: list[list[Doc]]) -> Listing:
    """`{ a, b }`."""
    commas = [Word(",", space=False) for _ in items[1:]]
    return Listing(Word("{"), items, commas, Word("}"), padded=True, trailing=True)


# ---- networks and ports ----


def prefix_text(value: int, length: int, style: str) -> str:
    """An address or prefix of a family."""
    address = ipaddress.IPv4Address(value) if style == "ip4" else ipaddress.IPv6Address(value)
    return str(address) if length == WIDTHS[style] else f"{address}/{length}"


def prefix_texts(values: IntervalSet, style: str) -> list[str]:
    """The fewest prefixes that hold exactly those addresses."""
    return [prefix_text(value, length, style) for value, length in values.prefixes(WIDTHS[style])]


def network(values: IntervalSet, style: str, name_of: NameOf) -> list[Doc]:
    """Addresses of one family: a name, prefixes, `not` of the others, or a difference: the shortest."""
    if name := name_of("network", values):
        return [Word(name)]
    rest = values.complement(WIDTHS[style])
    if not rest:
        return [Word("0.0.0.0/0" if style == "ip4" else "::/0")]
    if name := name_of("network", rest):
        return [Word("not"), Word(name)]
    plain, others = prefix_texts(values, style), None
    if len(plain) > 1:
        others = prefix_texts(rest, style)
    if len(plain) > LEAST_AROUND:
        around = _around(values, style)
        inside = prefix_texts(IntervalSet.of(around) - values, style)
        if len(inside) + 1 < min(len(plain), len(others or plain)):
            (whole,) = prefix_texts(IntervalSet.of(around), style)
            return [Word(whole), Word("-", breaks=Break.IF_LONG), *_one_or_list(inside)]
    if others is not None and len(others) < len(plain):
        return [Word("not"), *_one_or_list(others)]
    return _one_or_list(plain)


def words(docs: Iterable[Doc]) -> int:
    """How many values are listed."""
    return sum(len(doc.items) if isinstance(doc, Listing) else doc.text not in ("not", "-") for doc in docs)


def _around(values: IntervalSet, style: str) -> tuple[int, int]:
    """The smallest prefix with all of the values in it."""
    low, high = values.ranges[0][0], values.ranges[-1][1]
    host_bits = (low ^ high).bit_length()
    return (low >> host_bits << host_bits, high | (1 << host_bits) - 1)


def _one_or_list(texts: list[str]) -> list[Doc]:
    return [Word(texts[0])] if len(texts) == 1 else [listing([[Word(t)] for t in texts])]


def range_text(low: int, high: int) -> str:
    """`80` or `80-90`."""
    return str(low) if low == high else f"{low}-{high}"


def port_list(values: IntervalSet, name_of: NameOf) -> list[Doc]:
    """Ports behind `port`."""
    if name := name_of("ports", values):
        return [Word(name)]
    return _one_or_list([range_text(low, high) for low, high in values])


# ---- conditions ----


def _flags(values: IntervalSet) -> str | None:
    """`flags` of exactly these sets of TCP flags, None where neither of its forms says it."""
    absent = values.complement(8)
    if (found := _masked(values)) is not None and found[0]:
        mask, value = found[1], found[0]
        return f"{_flag_names(value)}/{_flag_names(mask)}"
    if absent and (found := _masked(absent)) is not None and found[0] == 0:
        return ", ".join(FLAG_NAMES[1 << bit] for bit in range(8) if found[1] >> bit & 1)
    return None


def _masked(values: IntervalSet) -> tuple[int, int] | None:
    """(value, mask) when the set is `flags & mask == value`."""
    every = [v for low, high in values for v in range(low, high + 1)]
    mask = 0xFF
    for v in every:
        mask &= ~(v ^ every[0])
    return (every[0] & mask, mask) if len(every) == 1 << (8 - mask.bit_count()) else None


def _flag_names(bits: int) -> str:
    return ",".join(FLAG_NAMES[1 << bit] for bit in range(8) if bits >> bit & 1)


def _test(name: str, values: IntervalSet) -> list[Doc]:
    """A condition of `if` that holds exactly for the values."""
    row = fields.lookup(name)
    rest = values.complement(row.width_bits)
    if row.style == "int" and codes.has_order(row) and len(values) == 1:
        (low, high), top = values.ranges[0], full(name).ranges[0][1]
        if low > 0 and high == top:
            return [Word(name), Word(">="), Word(str(low))]
        if low == 0 and high < top and low != high:
            return [Word(name), Word("<="), Word(str(high))]
    if values.count == 1:
        return [Word(name), Word("=="), Word(_value(name, values.ranges[0][0]))]
    if rest.count == 1:
        return [Word(name), Word("!="), Word(_value(name, rest.ranges[0][0]))]
    if len(rest) < len(values):
        return [Word("not"), Word(name), Word("in"), *_values(name, rest)]
    return [Word(name), Word("in"), *_values(name, values)]


def _values(name: str, values: IntervalSet) -> list[Doc]:
    """One value, or a list of values and ranges."""
    style = fields.lookup(name).style
    if style in WIDTHS:
        items = prefix_texts(values, style)
    else:
        items = []
        for low, high in values:
            if low == high or style == "mac" or (high - low < 4 and name in codes.NAMES):
                items += [_value(name, v) for v in range(low, high + 1)]
            else:
                items.append(f"{low:#x}-{high:#x}" if style == "hex" else f"{low}-{high}")
    if len(items) == 1:
        return [Word(items[0])]
    return [listing([[Word(item)] for item in items])]


def _value(name: str, value: int) -> str:
    """A value as the field writes it."""
    style = fields.lookup(name).style
    words: Mapping[str, int] = codes.NAMES.get(name, {}) if name != "tcp.flags" else {}
    for word, number in words.items():
        if number == value:
            return word
    if style == "mac":
        return ":".join(f"{byte:02x}" for byte in value.to_bytes(6))
    if style in WIDTHS:
        return prefix_text(value, WIDTHS[style], style)
    return f"{value:#x}" if style == "hex" else str(value)
