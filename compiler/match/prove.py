"""Whether every packet of a claim ends with one verdict, proved over boxes.

What a claim describes is a union of boxes; each rule takes its part of them, and a part that ends with
another verdict is a suspect. Fields are taken as independent, so a suspect may hold no packet that exists:
whoever asks must find one and let the reference judge it. No suspect is a proof. A rule with a limit may or
may not match, so both is looked at; a rule that lets the packet go on takes nothing, unless it leads further
than to the next one.

Knows boxes and match programs; must never know packets or text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby

from ..decision import DEFAULT
from .boxes import Box, domain, weight, without
from .ir import Match, MatchProgram

MAX_WORK = 20_000_000


class TooMuchWork(Exception):  # noqa: N818 - reads as what happened
    """The boxes fall into more pieces than anybody wants to wait for."""


@dataclass(frozen=True)
class Suspect:
    """Packets of the claim that `rule` (index, or DEFAULT) may give another verdict."""

    box: Box
    rule: int


def suspects(program: MatchProgram, claim: Iterable[Box], verdict: str) -> Iterator[Suspect]:
    """Where the program may answer packets of `claim` otherwise. Raises TooMuchWork."""
    left = list(claim)
    work = 0
    leapt: dict[int, list[Box]] = {}  # pieces that wait for the rule they are led to
    for rule, matches in groupby(program.matches, key=lambda match: match.rule):
        info = program.rules[rule]
        for target in sorted(target for target in leapt if target <= rule):
            left += leapt.pop(target)
        if info.passing and info.resume is None:
            continue
        for match in matches:
            taken = dict(match.tests)
            work += sum(map(weight, left)) + weight(taken)
            if work > MAX_WORK:
                raise TooMuchWork
            following: list[Box] = []
            for piece in left:
                parts = without(piece, taken)
                if parts is not None and info.resume is not None:
                    leapt.setdefault(info.resume, []).append(_meet(piece, match))
                elif parts is not None and info.verdict != verdict:
                    yield Suspect(_meet(piece, match), rule)
                following += [piece] if parts is None else parts
            left = left if info.limit is not None else following
    if program.default != verdict:
        yield from (Suspect(piece, DEFAULT) for piece in (*left, *chain.from_iterable(leapt.values())))


def _meet(box: Box, match: Match) -> Box:
    return {**box, **{name: box.get(name, domain(name)) & values for name, values in match.tests}}
