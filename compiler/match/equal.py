"""Whether two match programs over the same rules are one: proved by subtraction, else boxes in doubt.

A rule takes the union of its matches, less what earlier rules that surely decide took before. So two programs
are equal when, for each rule, what only one of them gives it is taken earlier: by induction over the rules
the two agree on what "earlier" is. Matches that both programs hold cost nothing; those that one of them lacks
are cut by the other's matches of their rule, then by all earlier ones. Rules that others lead past take
nothing from where those lead to.

Fields are taken as independent (`boxes`), so a box that is left may hold no packet that exists: whoever asks
must find one. Knows boxes and match programs; must never know packets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

from .boxes import Box, inside, present, without
from .coverage import leaps_of
from .ir import Match, MatchProgram
from .prove import TooMuchWork

MAX_LOOKS = 1_000_000  # pairs of boxes; a few seconds
LARGE = 64  # ranges of a set whose comparison with another is remembered
MAX_PIECES = 2_000  # that one box may fall into


class Work:
    """How much has been looked at; `take` raises TooMuchWork beyond what anybody waits for. Remembers what
    large sets have in common: a list of 100,000 prefixes is met at every turn."""

    def __init__(self, most: int = MAX_LOOKS) -> None:
        self._left = most
        self._known: dict[tuple[int, int], tuple[IntervalSet, IntervalSet, IntervalSet, IntervalSet]] = {}

    def take(self, looks: int) -> None:
        """So many pairs of boxes more."""
        self._left -= looks
        if self._left < 0:
            raise TooMuchWork

    def cut(self, one: IntervalSet, other: IntervalSet) -> tuple[IntervalSet, IntervalSet]:
        """(what both have, what only the first has)."""
        if len(one) + len(other) < LARGE:
            return one & other, one - other
        found = self._known.get((id(one), id(other)))
        if found is None:  # holding both keeps their ids their own
            found = self._known[id(one), id(other)] = (one & other, one - other, one, other)
        return found[:2]

    def meet(self, one: Box, other: Box) -> bool:
        """Whether two boxes may share a packet. Narrow tests stand behind wide ones: looked at first."""
        return all(
            name not in one or one[name] is values or self._overlap(one[name], values)
            for name, values in reversed(tuple(other.items()))
        )

    def _overlap(self, one: IntervalSet, other: IntervalSet) -> bool:
        if len(one) + len(other) < LARGE:
            return one.overlaps(other)
        return bool(self.cut(one, other)[0])


def suspects(before: MatchProgram, after: MatchProgram) -> Iterator[Box]:
    """Boxes of packets that the two may answer differently; none is a proof. Raises TooMuchWork."""
    work = Work()
    ours, theirs = _by_rule(before), _by_rule(after)
    earlier: list[tuple[int, Box]] = []  # (rule, box) of what surely decides on every way
    leaps = leaps_of(before)
    for rule in sorted(ours.keys() | theirs.keys()):
        for target in [target for target in leaps if target <= rule]:
            first = leaps.pop(target)
            earlier = [(taker, box) for taker, box in earlier if not first < taker < target]
        old, new = ours.get(rule, ()), theirs.get(rule, ())
        for mine, others in ((old, new), (new, old)):
            for box in _changed(mine, others):
                for piece in rest([box], _boxes(others), work):
                    yield from _untaken(piece, earlier, work)
        if before.rules[rule].final:
            earlier += [(rule, box) for box in _boxes(old)]


def _untaken(box: Box, earlier: Sequence[tuple[int, Box]], work: Work) -> list[Box]:
    """A part of a box that earlier ones leave. What takes its lowest corner goes first: a corner that nobody
    takes is the answer, and a box that is covered falls into few pieces."""
    work.take(len(earlier))
    near = [other for _, other in earlier if work.meet(box, other)]
    left = [box]
    while left:
        piece = left.pop()
        work.take(len(near))
        takers = [other for other in near if _takes_corner(other, piece)]
        if not takers:
            return [piece]
        if not any(inside(piece, other) for other in takers):
            left += _parts(piece, takers[0])
    return []


def _takes_corner(other: Box, piece: Box) -> bool:
    return all(
        piece[name].ranges[0][0] in values
        if name in piece
        else present(name, piece) and fields.lookup(name).least in values
        for name, values in reversed(tuple(other.items()))
    )


def rest(pieces: list[Box], taken: Iterable[Box], work: Work) -> list[Box]:
    """What is left of disjoint boxes. Raises TooMuchWork."""
    for other in taken:
        if not pieces:
            break
        work.take(len(pieces))
        if any(work.meet(piece, other) for piece in pieces):
            pieces = [part for piece in pieces for part in _parts(piece, other)]
            if len(pieces) > MAX_PIECES:
                raise TooMuchWork
    return pieces


def _parts(piece: Box, other: Box) -> list[Box]:
    parts = without(piece, other)
    return [piece] if parts is None else parts


def _by_rule(program: MatchProgram) -> dict[int, list[Match]]:
    found: dict[int, list[Match]] = {}
    for match in program.matches:
        found.setdefault(match.rule, []).append(match)
    return found


def _changed(matches: Sequence[Match], others: Sequence[Match]) -> Iterator[Box]:
    """The boxes of matches that are not among the others as objects: passes hand on what they leave."""
    same = {id(match.tests) for match in others}
    return (dict(match.tests) for match in matches if id(match.tests) not in same)


def _boxes(matches: Iterable[Match]) -> list[Box]:
    return [dict(match.tests) for match in matches]
