"""A list whose rules lead past others, as one that is read from the first match to the last.

Where a rule leads on to a later one, the matches from there on are written out, narrowed to what the rule
takes. Knows the match IR alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from lockgate.stdlib_bpf.fields import sort_key
from lockgate.stdlib_bpf.sets import IntervalSet

from .ir import Match, MatchProgram, RuleInfo
from .passes import PASSES

Tests = Mapping[str, IntervalSet]
MAX_MATCHES = 100_000


class TooLong(Exception):  # noqa: N818 - reads as what happened
    """More than MAX_MATCHES would be written."""


def straight(program: MatchProgram) -> MatchProgram:
    """The same list without leaps: each match has a rule of its own, with the verdict and label of the one
    that it came from. Where a rule leads to, the list must decide everything. TooLong."""
    matches, rules = list[Match](), list[RuleInfo]()
    for tests, match in _from(program, 0, {}):
        rule = program.rules[match.rule]
        matches.append(Match(_sorted(tests), len(rules), (len(rules),)))
        rules.append(rule)
        if len(matches) > MAX_MATCHES:
            raise TooLong
    found = replace(program, rules=tuple(rules), matches=tuple(matches))
    for optimise in PASSES:
        found = optimise(found)
    return found


def _from(program: MatchProgram, first: int, taken: Tests) -> Iterator[tuple[Tests, Match]]:
    """Matches of the rules from `first` on, each narrowed to `taken`, up to one that takes all of it."""
    for match in program.matches:
        rule = program.rules[match.rule]
        both = None if match.rule < first else _both(taken, dict(match.tests))
        if both is None:
            continue
        if rule.resume is None:
            yield both, match
        else:
            yield from _from(program, rule.resume, both)
        if both == taken:
            return
    assert not taken, "what a rule leads to decides everything"


def _both(one: Tests, other: Tests) -> Tests | None:
    """What satisfies the tests of both; None where nothing does."""
    found = dict(one)
    for name, values in other.items():
        found[name] = found[name] & values if name in found else values
        if not found[name]:
            return None
    return found


def _sorted(tests: Tests) -> tuple[tuple[str, IntervalSet], ...]:
    return tuple(sorted(tests.items(), key=lambda test: sort_key(test[0])))
