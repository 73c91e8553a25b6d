"""What a profile is used for: matches that take much traffic come first, where nothing can tell.

Two rules may change places when no packet satisfies both: their matches ask one field for values that share
none. Dynamic sets do not count as fields here, since what they hold may change between two questions. All
matches of a rule move together. Knows conjunctions and counts; it never looks at traffic, and what it does
changes speed only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile

from lockgate.stdlib_bpf import fields

from .specialise import Conjunction

MOVED = 0.01  # share of all packets from which on a rule is moved
EARLY = 0.1  # from which on one that stands first is kept out of classifiers: its tests cost all others 2 ns
EARLY_RANGES, EARLY_MATCHES = 8, 4  # of a rule whose tests are that cheap
HOT = 0.5  # share of the packets that reach a rule
MAX_COMPARED = 200_000  # pairs of matches that are looked at for what may change places

Hits = Mapping[int, int]  # rule, or DEFAULT → packets


@dataclass(frozen=True)
class _Unit:
    """All matches of one rule, in order. `share`: of all packets that it decides."""

    rule: int
    matches: tuple[Conjunction, ...]
    share: float

    @property
    def density(self) -> float:
        """Packets decided for each test that others must pass."""
        return self.share / max(1, sum(len(one.tests) for one in self.matches))


def reordered(conjunctions: Sequence[Conjunction], hits: Hits) -> list[Conjunction]:
    """The list in an order of the same meaning, with rules of many hits as early as may be. Of equals the
    order stays."""
    total = sum(hits.values())
    units: list[_Unit] = []
    patience = MAX_COMPARED
    for rule, matches in groupby(conjunctions, key=lambda one: one.rule):
        unit = _Unit(rule, tuple(matches), hits.get(rule, 0) / total if total else 0.0)
        at = len(units)
        while at and unit.share >= MOVED and units[at - 1].density < unit.density:
            patience -= len(unit.matches) * len(units[at - 1].matches)
            if patience < 0 or not _apart(units[at - 1], unit):
                break
            at -= 1
        units.insert(at, unit)
    return [one for unit in units for one in unit.matches]


def _apart(one: _Unit, other: _Unit) -> bool:
    """Whether no packet satisfies both."""
    return all(_disjoint(mine, theirs) for mine in one.matches for theirs in other.matches)


def _disjoint(one: Conjunction, other: Conjunction) -> bool:
    asked = dict(other.tests)
    return any(
        name in asked and fields.split_live(name) is None and not values.overlaps(asked[name])
        for name, values in one.tests
    )


def early(conjunctions: Sequence[Conjunction], hits: Hits) -> frozenset[int]:
    """Rules at the front of the list that take so much of the traffic, by so cheap tests, that a classifier
    would be dearer for it."""
    total = sum(hits.values())
    groups = ((rule, list(matches)) for rule, matches in groupby(conjunctions, key=lambda one: one.rule))
    front = takewhile(lambda group: hits.get(group[0], 0) >= EARLY * total > 0 and _cheap(group[1]), groups)
    return frozenset(rule for rule, _ in front)


def _cheap(matches: Sequence[Conjunction]) -> bool:
    ranges = (len(values) for one in matches for _, values in one.tests)
    return len(matches) <= EARLY_MATCHES and all(count <= EARLY_RANGES for count in ranges)


def reaching(conjunctions: Sequence[Conjunction], hits: Hits) -> dict[int, float]:
    """For each rule of a list the share of all packets that reach it: those that no rule before it decided. 1
    where a profile says nothing."""
    left = total = sum(hits.values())
    shares: dict[int, float] = {}
    for rule, _ in groupby(conjunctions, key=lambda one: one.rule):
        shares[rule] = left / total if total else 1.0
        left -= hits.get(rule, 0)
    return shares


def hot(shares: Mapping[int, float], hits: Hits) -> set[int]:
    """Rules that decide most of the packets that reach them. `shares`: of all packets, as `reaching` says."""
    total = sum(hits.values())
    return {rule for rule, share in shares.items() if hits.get(rule, 0) > HOT * share * total}
