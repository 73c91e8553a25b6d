"""A chain before it becomes nodes: its links in order, and where look-ups in tags stand among them.

A look-up must stand where every way to a test of its bits leads through it. Ways that leave the line are
those of rules that let the packet go on: behind their own matches, or to a later rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..match.ir import RuleInfo
from .choose import Bit, Form


@dataclass(frozen=True)
class Look:
    """The look-up of a field in tags."""

    field: str
    tags: str


# Matches with their tests, names of classifiers, look-ups, and numbers of rules that others lead to: what
# stands behind such a number belongs to that rule or a later one.
Link = tuple[int, list[Form]] | str | Look | int
Chain = list[Link]


def with_looks(chain: Chain, rules: Sequence[RuleInfo]) -> Chain:
    """The chain with each look-up that its tests need, before the first match that asks."""
    first: dict[Look, int] = {}
    for at, link in enumerate(chain):
        for form in link[1] if isinstance(link, tuple) else ():
            if isinstance(form, Bit):
                first.setdefault(Look(form.field, form.tags), at)
    places: dict[int, list[Look]] = {}
    for look, at in first.items():
        places.setdefault(_before_all(chain, at, rules), []).append(look)
    found: Chain = []
    for at, link in enumerate(chain):
        found += [*places.get(at, ()), link]
    return found


def _before_all(chain: Chain, at: int, rules: Sequence[RuleInfo]) -> int:
    """The last place at or before a match that no way leads past: before all matches of its rule, and of each
    earlier rule that leads to a later one behind the place."""
    targets = {link: place for place, link in enumerate(chain) if isinstance(link, int)}
    firsts: dict[int, int] = {}
    for place, link in enumerate(chain[: at + 1]):
        if isinstance(link, tuple):
            firsts.setdefault(link[0], place)
    leaps = [(place, targets.get(rules[rule].resume or -1, -1)) for rule, place in firsts.items()]
    at = firsts[_rule(chain[at])]
    while before := [place for place, to in leaps if place < at < to]:
        at = min(before)
    return at


def _rule(link: Link) -> int:
    assert isinstance(link, tuple)
    return link[0]
