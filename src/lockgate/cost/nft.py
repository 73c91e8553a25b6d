"""Rule lists for nftables: a chain at prerouting, values that are more than a range in named sets.

Knows nft(8).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lockgate.compiler.match.ir import MatchProgram
from lockgate.compiler.packet import address_text
from lockgate.compiler.policy.model import Prefixes
from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

from .said import Said, beyond, contents


@dataclass(frozen=True)
class Word:
    """How a field is asked for: the expression, the type of a set of such values ("" where a set must stand
    in the rule), and the family of addresses."""

    expression: str
    type: str
    family: int = 0


WORDS = {
    "eth.type": Word("meta protocol", "ether_type"),
    "ip.proto": Word("meta l4proto", "inet_proto"),
    "ip4.src": Word("ip saddr", "ipv4_addr", 4),
    "ip4.dst": Word("ip daddr", "ipv4_addr", 4),
    "ip6.src": Word("ip6 saddr", "ipv6_addr", 6),
    "ip6.dst": Word("ip6 daddr", "ipv6_addr", 6),
    "th.sport": Word("th sport", "inet_service"),
    "th.dport": Word("th dport", "inet_service"),
    "tcp.flags": Word("@th,104,8", ""),
    "icmp.type": Word("icmp type", "icmp_type"),
    "icmp6.type": Word("icmpv6 type", "icmpv6_type"),
}
KNOWN = frozenset(WORDS)


@dataclass
class _Sets:
    """Named sets, each contents once: (type, elements) → name."""

    names: dict[tuple[str, str], str] = field(default_factory=dict)

    def name(self, kind: str, elements: str) -> str:
        return self.names.setdefault((kind, elements), f"s{len(self.names)}")

    def text(self) -> str:
        lines = []
        for (kind, elements), name in self.names.items():
            held = f" elements = {{ {elements} }};" if elements else ""
            lines.append(f" set {name} {{ type {kind}; flags interval;{held} }}\n")
        return "".join(lines)


def say(program: MatchProgram, live: Mapping[str, Prefixes]) -> Said:
    """The program's rules in order, then its default; all drop. `live`: what dynamic sets hold."""
    reasons = ((match.rule, beyond(program, match, KNOWN)) for match in program.matches)
    unsaid = {rule: reason for rule, reason in reasons if reason is not None}
    sets, rules, lines = _Sets(), [], []
    for match in program.matches:
        if match.rule not in unsaid:
            tests = [_test(sets, *contents(name, values, live)) for name, values in match.tests]
            rules.append("  " + " ".join([*filter(None, tests), "counter drop\n"]))
            lines.append(match.rule)
    text = (
        f"table inet lockgate {{\n{sets.text()}"
        f" chain rules {{\n  type filter hook prerouting priority -300;\n{''.join(rules)}"
        "  counter drop\n }\n}\n"
    )
    return Said(((("nft", "-f", "-"), text),), tuple(lines), unsaid)


def _test(sets: _Sets, name: str, values: IntervalSet, inside: bool) -> str:
    word = WORDS[name]
    if values == fields.lookup(name).full and inside:
        return ""
    elements = ", ".join(_range(word, *span) for span in values)
    if len(values) == 1:
        held = elements
    else:
        held = f"@{sets.name(word.type, elements)}" if word.type else f"{{ {elements} }}"
    return f"{word.expression} {'' if inside else '!= '}{held}"


def _range(word: Word, low: int, high: int) -> str:
    first, last = (address_text(word.family, v) if word.family else hex(v) for v in (low, high))
    return first if low == high else f"{first}-{last}"
