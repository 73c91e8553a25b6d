"""Matches of one rule that stand side by side become one where their union is one conjunction.

Counters and reports rest on the deciding rule, so matches of different rules are never merged.

    match 0 from 0 when eth.type {0x0800, 0x86dd} ip.proto {6} th.dport {53}
    match 0 from 0 when eth.type {0x0800, 0x86dd} ip.proto {17} th.dport {53}
  →
    match 0 from 0 when eth.type {0x0800, 0x86dd} ip.proto {6, 17} th.dport {53}
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

from lockgate.stdlib_bpf.sets import IntervalSet

from ...pipeline import compiler_pass
from ..boxes import inside
from ..ir import Match, MatchProgram

MAX_PAIRWISE = 64  # above this many matches of a rule only equal ones are sought, not included ones


@compiler_pass()
def merge_neighbours(program: MatchProgram) -> MatchProgram:
    """Merge matches of one rule that differ in one field. Law: within one rule order decides nothing, and
    A and x, or A and y, is A and (x or y)."""
    matches: list[Match] = []
    names = _Names()
    for _, run in groupby(program.matches, key=lambda match: match.rule):
        matches += _merged(list(run), names)
    return program if len(matches) == len(program.matches) else replace(program, matches=tuple(matches))


def _merged(run: list[Match], names: _Names) -> list[Match]:
    """One rule's matches, until no two of them differ in one field only and none lies inside another."""
    before = len(run) + 1
    while 1 < len(run) < before:
        before = len(run)
        for field in sorted({name for match in run for name, _ in match.tests}):
            run = _union_over(field, run, names)
    if 1 < len(run) <= MAX_PAIRWISE:
        run = _without_included(run)
    return run


def _union_over(field: str, run: list[Match], names: _Names) -> list[Match]:
    """Matches that agree in all fields but this one become one, where the first of them stood."""
    groups: dict[tuple[tuple[str, int], ...], list[Match]] = {}
    for match in run:
        key = tuple((name, 0 if name == field else names.of(values)) for name, values in match.tests)
        groups.setdefault(key, []).append(match)
    return [group[0] if len(group) == 1 else _union(field, group) for group in groups.values()]


class _Names:
    """Numbers that stand for sets, from 1, equal for equal sets: each object is hashed once, since it may
    hold a hundred thousand ranges."""

    def __init__(self) -> None:
        self._by_value: dict[IntervalSet, int] = {}
        self._by_object: dict[int, tuple[IntervalSet, int]] = {}

    def of(self, values: IntervalSet) -> int:
        """The number of a set."""
        known = self._by_object.get(id(values))
        if known is None:
            number = self._by_value.setdefault(values, len(self._by_value) + 1)
            known = self._by_object[id(values)] = (values, number)  # holding it keeps its id its own
        return known[1]


def _union(field: str, group: list[Match]) -> Match:
    ranges = (r for match in group for r in match.get(field) or ())
    values = IntervalSet.from_ranges(ranges)
    first = group[0]
    tests = tuple((name, values if name == field else old) for name, old in first.tests)
    return Match(tests, first.rule, _origins(group))


def _without_included(run: list[Match]) -> list[Match]:
    """Leave out matches that lie inside another; what covers them inherits nothing, they never decide."""
    kept: list[Match] = []
    for i, match in enumerate(run):
        box = dict(match.tests)
        others = (*kept, *run[i + 1 :])
        if any(inside(box, dict(other.tests)) for other in others):
            continue
        kept.append(match)
    return kept


def _origins(group: list[Match]) -> tuple[int, ...]:
    return tuple(sorted({origin for match in group for origin in match.origins}))
