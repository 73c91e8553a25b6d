"""A rule list in the words of another packet filter, and what all of them can and cannot say.

What is compared is the finding of the rule that decides. So every rule drops, whatever its verdict, and no
packet goes on into a stack that costs more than all rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lockgate.compiler.match.ir import Match, MatchProgram
from lockgate.compiler.policy.model import Prefixes
from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet


@dataclass(frozen=True)
class Said:
    """`scripts`: (command, its standard input), to be run in this order; `lines`: number of the policy's rule
    that each rule there stands for; `unsaid`: number of a rule → what about it could not be said, so that the
    whole rule is missing."""

    scripts: tuple[tuple[tuple[str, ...], str], ...]
    lines: tuple[int, ...]
    unsaid: dict[int, str]


def beyond(program: MatchProgram, match: Match, words: frozenset[str]) -> str | None:
    """What of a match and its rule is beyond plain rules that ask for fields of `words`; None for nothing."""
    rule = program.rules[match.rule]
    if rule.limit is not None:
        return "its limit"
    if rule.passing:
        return "that packets go on"
    names = (name for name, _ in match.tests if fields.split_live(name) is None)
    return next((f"`{name}`" for name in names if name not in words), None)


def contents(name: str, values: IntervalSet, live: Mapping[str, Prefixes]) -> tuple[str, IntervalSet, bool]:
    """(field, what it is compared with, whether it must lie there) of a test, also of a dynamic set."""
    split = fields.split_live(name)
    if split is None:
        return name, values & fields.lookup(name).full, True
    field, set_name = split
    held = live.get(set_name, Prefixes())
    return field, held.v6 if field.startswith("ip6.") else held.v4, 1 in values
