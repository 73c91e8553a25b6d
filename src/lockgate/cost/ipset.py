"""Rule lists for iptables with ipset: rules in the table `raw`, several prefixes in a set `hash:net`.

Knows iptables-extensions(8) and ipset(8).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from lockgate.compiler.match.ir import Match, MatchProgram
from lockgate.compiler.packet import address_text
from lockgate.compiler.plan.inline import inline
from lockgate.compiler.plan.ir import Masked
from lockgate.compiler.policy.model import Prefixes
from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

from .said import Said, beyond, contents

COMMANDS = {4: "iptables-legacy-restore", 6: "ip6tables-legacy-restore"}
ETH_TYPES = {4: fields.ETH_P_IP, 6: fields.ETH_P_IPV6}
SIDES = {"src": "s", "dst": "d"}
ICMP = {"icmp.type": "--icmp-type", "icmp6.type": "--icmpv6-type"}
MAX_VALUES = 15  # of protocols and types, and of the ports that `multiport` takes
FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
KNOWN = frozenset(
    {"eth.type", "ip.proto", "th.sport", "th.dport", "tcp.flags", *ICMP}
    | {f"ip{family}.{side}" for family in COMMANDS for side in SIDES}
)


class _Beyond(Exception):  # noqa: N818 - reads as what happened
    """What of a match cannot be said."""


@dataclass
class _Sets:
    """Named sets, each contents once: (family, prefixes) → name."""

    names: dict[tuple[int, tuple[str, ...]], str] = field(default_factory=dict)

    def name(self, family: int, prefixes: Sequence[str]) -> str:
        return self.names.setdefault((family, tuple(prefixes)), f"s{len(self.names)}")

    def text(self) -> str:
        lines = []
        for (family, prefixes), name in self.names.items():
            most = max(64, len(prefixes))
            lines.append(f"create {name} hash:net family inet{'6' * (family == 6)} maxelem {most}\n")
            lines += [f"add {name} {prefix}\n" for prefix in prefixes]
        return "".join(lines)


def say(program: MatchProgram, live: Mapping[str, Prefixes]) -> Said:
    """The program's rules in order, then its default; all drop. `live`: what dynamic sets hold."""
    sets, unsaid = _Sets(), dict[int, str]()
    rules: dict[int, list[tuple[int, str]]] = {family: [] for family in COMMANDS}
    for match in program.matches:
        try:
            if reason := beyond(program, match, KNOWN):
                raise _Beyond(reason)
            for family in _families(match):
                lines = [f"{words} -j DROP" for words in _worded(match, family, sets, live)]
                rules[family] += [(match.rule, line) for line in lines]
        except _Beyond as reason:
            unsaid[match.rule] = str(reason)
    scripts: list[tuple[tuple[str, ...], str]] = [(("ipset", "restore"), sets.text())]
    for family, command in COMMANDS.items():
        said = "".join(f"-A PREROUTING{line}\n" for rule, line in rules[family] if rule not in unsaid)
        scripts.append(((command,), f"*raw\n{said}-A PREROUTING -j DROP\nCOMMIT\n"))
    places = tuple(rule for found in rules.values() for rule, _ in found if rule not in unsaid)
    return Said(tuple(scripts), places, unsaid)


def _families(match: Match) -> list[int]:
    eth_types = match.get("eth.type")
    found = [family for family, number in ETH_TYPES.items() if eth_types is None or number in eth_types]
    if not found:
        raise _Beyond("`eth.type`")
    return found


def _worded(match: Match, family: int, sets: _Sets, live: Mapping[str, Prefixes]) -> Iterator[str]:
    """The match as rules, one of which must hold; each begins with a space."""
    parts = []
    for name, values in match.tests:
        field_name, held, inside = contents(name, values, live)
        if field_name != "eth.type" and not (held == fields.lookup(field_name).full and inside):
            parts.append(_choices(field_name, held, inside, family, sets))
    # A protocol stands before what asks about its header: the order of fields has it so but for addresses.
    parts.sort(key=lambda choices: not choices[0].startswith(" -p"))
    yield from ("".join(chosen) for chosen in product(*parts))


def _choices(name: str, values: IntervalSet, inside: bool, family: int, sets: _Sets) -> list[str]:
    """Ways to ask for a field, one of which must hold."""
    if name == "ip.proto":
        return [f" -p {number}" for number in _few(name, values)]
    if name in ICMP:
        return [f" {ICMP[name]} {number}" for number in _few(name, values)]
    if name in ("th.sport", "th.dport"):
        spans = [f"{low}:{high}" if low != high else f"{low}" for low, high in values]
        step = MAX_VALUES // 2
        option = f" -m multiport --{name[3:]}s "
        return [option + ",".join(spans[at : at + step]) for at in range(0, len(spans), step)]
    if name == "tcp.flags":
        return [f" --tcp-flags {_flags(values)}"]
    side, width = name[4:], 8 * (4 if family == 4 else 16)
    prefixes = [f"{address_text(family, value)}/{length}" for value, length in values.prefixes(width)]
    if len(prefixes) == 1 and inside:
        return [f" -{SIDES[side]} {prefixes[0]}"]
    return [f" -m set {'' if inside else '! '}--match-set {sets.name(family, prefixes)} {side}"]


def _few(name: str, values: IntervalSet) -> list[int]:
    if values.count > MAX_VALUES:
        raise _Beyond(f"that many values of `{name}`")
    return [value for low, high in values for value in range(low, high + 1)]


def _flags(values: IntervalSet) -> str:
    form = inline("tcp.flags", values, 8, invertible=True)
    test = form.tests[0] if len(form.tests) == 1 and not form.inverted else None
    if not isinstance(test, Masked) or test.mask >> len(FLAGS):
        raise _Beyond("which `tcp.flags`")
    mask, wanted = (
        ",".join(flag for bit, flag in enumerate(FLAGS) if number >> bit & 1) or "NONE"
        for number in (test.mask, test.value)
    )
    return f"{mask} {wanted}"
