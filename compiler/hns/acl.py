"""Access lists: matches as entries, first match as priorities.

The entry with the lowest priority number that matches decides; of entries with one number a `Block` wins over
an `Allow`; a packet that none matches is blocked, as soon as an endpoint has any. So a run of rules that
block, and the run of rules that allow behind it, share a number. Knows the match IR and the form of entries;
what cannot be said was refused before (`refusals`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

from ..match.ir import Match, MatchProgram
from ..packet import address_text

FIRST, LAST = 100, 65500  # priorities that are given; the last one is for defaults
ALLOW, BLOCK = "Allow", "Block"
ACTIONS = {"allow": ALLOW, "pass": ALLOW, "drop": BLOCK}
DIRECTIONS = {"ingress": "In", "egress": "Out"}
# Direction → which side of a packet the endpoint itself is.
LOCAL = {"ingress": "dst", "egress": "src"}
FAMILIES = {"4": fields.IP4, "6": fields.IP6}

Entry = dict[str, str | int]


@dataclass(frozen=True)
class Listed:
    """An entry and the label of the rule that it is of."""

    entry: Entry
    label: str


def entries(program: MatchProgram) -> Iterator[Listed]:
    """All entries of a rule list, its default last."""
    for match, priority in zip(program.matches, priorities(program), strict=True):
        if not of_ip(match):
            continue  # it allows what no entry judges
        rule = program.rules[match.rule]
        for found in settings(match, program.direction):
            yield Listed(_entry(found, ACTIONS[rule.verdict], program.direction, priority), rule.label)
    yield default(program.direction, ACTIONS[program.default])


def of_ip(match: Match) -> bool:
    """Whether a match speaks of IP packets, besides others perhaps."""
    eth_types = match.get("eth.type")
    return eth_types is None or eth_types.overlaps(fields.IP)


def default(direction: str, action: str) -> Listed:
    """The entry for what no other one matches."""
    return Listed(_entry({}, action, direction, LAST), "default")


def _entry(settings: dict[str, str], action: str, direction: str, priority: int) -> Entry:
    tests = {name: settings[name] for name in sorted(settings)}
    head: Entry = {"Action": action, "Direction": DIRECTIONS[direction]}
    return {**head, **tests, "RuleType": "Switch", "Priority": priority}


def priorities(program: MatchProgram) -> list[int]:
    """The number of each match: it rises where a rule that blocks follows one that allows."""
    found, number, last = list[int](), FIRST, BLOCK
    for match in program.matches:
        action = ACTIONS[program.rules[match.rule].verdict]
        number += (last, action) == (ALLOW, BLOCK)
        last = action
        found.append(number)
    return found


def settings(match: Match, direction: str) -> Iterator[dict[str, str]]:
    """The tests of a match in HNS's words: one set of them for each family that it speaks of by an address,
    one for both where it names none."""
    tests = dict(match.tests)
    common = _ports(tests, direction)
    if (protocols := tests.get("ip.proto")) is not None and protocols != IntervalSet.full(8):
        common["Protocols"] = ",".join(
            str(number) for low, high in protocols for number in range(low, high + 1)
        )
    eth_types = tests.get("eth.type")
    if eth_types is None or fields.IP.issubset(eth_types):
        yield common
        return
    for family, eth_type in FAMILIES.items():
        if eth_type.issubset(eth_types):
            yield common | _addresses(tests, direction, family)


def _ports(tests: dict[str, IntervalSet], direction: str) -> dict[str, str]:
    found = {}
    for field, side in (("th.sport", "src"), ("th.dport", "dst")):
        values = tests.get(field)
        if values is not None and values != IntervalSet.full(16):
            found[f"{_end(side, direction)}Ports"] = ",".join(_range(low, high) for low, high in values)
    return found


def _addresses(tests: dict[str, IntervalSet], direction: str, family: str) -> dict[str, str]:
    """Addresses of one family; the remote end stands for the family where no address is asked."""
    found, width = {}, 32 if family == "4" else 128
    full = IntervalSet.full(width)
    for side in ("src", "dst"):
        values = tests.get(f"ip{family}.{side}", full)
        end = _end(side, direction)
        if values != full or end == "Remote":
            found[f"{end}Addresses"] = ",".join(prefixes(family, values, width))
    return found


def prefixes(family: str, values: IntervalSet, width: int) -> Sequence[str]:
    """The fewest prefixes that are exactly these addresses."""
    return [f"{address_text(int(family), value)}/{bits}" for value, bits in values.prefixes(width)]


def _end(side: str, direction: str) -> str:
    return "Local" if LOCAL[direction] == side else "Remote"


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"
