"""Runs of rules that differ in one field's values, as one verdict map: a look-up instead of a rule each.

    th dport vmap { 22 : goto edge.ip4.ssh.act, 80 : goto edge.ip4.web.act }

The first rule that has a value keeps it, as the first that matches decides. Knows matches and words; must
never know what a rule does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import EMPTY, IntervalSet

from ..match.ir import Match
from .classes import PacketClass

LEAST = 4  # rules from which on a look-up is cheaper (docs/when-not.md has what each costs)
MAPPED = (
    "ip.proto",
    "ip4.src",
    "ip4.dst",
    "ip6.src",
    "ip6.dst",
    "th.sport",
    "th.dport",
    "icmp.type",
    "icmp6.type",
)


@dataclass(frozen=True)
class Run:
    """Neighbouring matches, by index from `first` on, that are alike but for the values of `field`; `values`:
    what each of them decides."""

    first: int
    field: str
    values: tuple[IntervalSet, ...]


def runs(matches: Sequence[Match | None], packets: PacketClass) -> Iterator[Run]:
    """The runs that pay. `matches`: what may be in one, None for a rule that cannot."""
    at = 0
    while at < len(matches):
        found = _longest(matches, at, packets)
        if found is None:
            at += 1
        else:
            yield found
            at += len(found.values)


def _longest(matches: Sequence[Match | None], first: int, packets: PacketClass) -> Run | None:
    head, following = matches[first], matches[first + 1] if first + 1 < len(matches) else None
    field = None if head is None or following is None else _only_difference(head, following)
    if head is None or field not in MAPPED:
        return None
    word = packets.words.get(field)
    possible = fields.lookup(field).possible if word is None or word.possible is None else word.possible
    values, taken = list[IntervalSet](), EMPTY
    for match in matches[first:]:
        asked = None if match is None else match.get(field)
        alike = match is not None and (match is head or _only_difference(head, match) in (field, ""))
        if word is None or not alike or asked is None or possible.issubset(asked):
            break
        values.append((asked & possible) - taken)
        taken |= asked
    return Run(first, field, tuple(values)) if len(values) >= LEAST else None


def _only_difference(one: Match, other: Match) -> str | None:
    """The field whose values differ, "" where none do, None where they differ in more than values of one."""
    if [name for name, _ in one.tests] != [name for name, _ in other.tests]:
        return None
    differing = [name for (name, a), (_, b) in zip(one.tests, other.tests, strict=True) if a != b]
    return None if len(differing) > 1 else "".join(differing)


def without(match: Match, field: str) -> Match:
    """A match without its test of a field."""
    return Match(tuple(test for test in match.tests if test[0] != field), match.rule, match.origins)
