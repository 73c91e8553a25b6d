"""Which matches can never decide, because earlier ones together take every packet they describe.

Exact subtraction of boxes, behind cheap tests that spare it for nearly all matches. The work for one match is
bounded; past the bound the answer is "not covered", which is always safe. The bound is per match and depends
on earlier *uncovered* matches only, so dropping the covered ones changes no answer.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from operator import or_

from .boxes import Box, inside, present, weight, without
from .ir import MatchProgram

MAX_FRAGMENTS = 48
MAX_WORK = 4_000  # ranges touched by subtraction for one match; about 2 ms


def covered_rules(program: MatchProgram) -> list[tuple[int, tuple[int, ...]]]:
    """(rule, rules that together cover it) for every rule whose matches are all covered, ascending. Rules
    without any match are not listed. Meant for a program as lowered, before passes drop anything."""
    by_rule: dict[int, set[int] | None] = {}
    for match, covering in zip(program.matches, coverage(program), strict=True):
        known = by_rule.setdefault(match.rule, set())
        if covering is None or known is None:
            by_rule[match.rule] = None
        else:
            known |= {program.matches[i].rule for i in covering} - {match.rule}
    return [(rule, tuple(sorted(found))) for rule, found in sorted(by_rule.items()) if found is not None]


def coverage(program: MatchProgram) -> list[tuple[int, ...] | None]:
    """Per match: indices of the earlier, uncovered matches that cover it, None when it is not covered. A rule
    that may let a packet go on covers only its own later matches, which are passed over then."""
    boxes: list[Box] = [dict(match.tests) for match in program.matches]
    index = _Index(boxes)
    taking = own = 0  # uncovered matches that keep what they take: of rules that decide, of the rule at hand
    rule = -1
    answers: list[tuple[int, ...] | None] = []
    for i, (match, box) in enumerate(zip(program.matches, boxes, strict=True)):
        if match.rule != rule:
            rule, own = match.rule, 0
        answer = _covering(box, boxes, index, taking | own)
        answers.append(answer)
        if answer is None:
            own |= 1 << i
            taking |= program.rules[rule].final << i
    return answers


def _covering(box: Box, boxes: Sequence[Box], index: _Index, among: int) -> tuple[int, ...] | None:
    suspects = among
    for point in _samples(box):
        here = [i for i in _bits(index.at(point, box) & among) if _covers(boxes[i], point, box)]
        if not here:
            return None
        suspects &= sum(1 << i for i in here)
    for i in _bits(suspects):
        if inside(box, boxes[i]):
            return (i,)
    return _together(box, boxes, list(_bits(index.near(box) & among)))


def _together(box: Box, boxes: Sequence[Box], candidates: list[int]) -> tuple[int, ...] | None:
    left: list[Box] = [box]
    used: list[int] = []
    work = 0
    for i in candidates:
        following: list[Box] = []
        cut = False
        for piece in left:
            work += weight(piece) + weight(boxes[i])
            if work > MAX_WORK:
                return None
            parts = without(piece, boxes[i])
            cut = cut or parts is not None
            following += [piece] if parts is None else parts
        if cut:
            used.append(i)
        if not following:
            return tuple(used)
        if len(following) > MAX_FRAGMENTS:
            return None
        left = following
    return None


def _samples(box: Box) -> Iterator[dict[str, int]]:
    """Packets of the box: its lowest and highest corner and one from the middle; fields it does not test are
    missing."""
    yield {name: values.ranges[0][0] for name, values in box.items()}
    yield {name: values.ranges[-1][1] for name, values in box.items()}
    yield {name: values.ranges[len(values) // 2][0] for name, values in box.items()}


def _covers(outer: Box, point: dict[str, int], box: Box) -> bool:
    """Whether `outer` may take the sample packet; a field that is surely there may have any value."""
    for name, values in outer.items():
        value = point.get(name)
        if value is None:
            if not present(name, box):
                return False
        elif value not in values:
            return False
    return True


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


class _Column:
    """Lowest and highest value of one field in each box, sorted; sets of boxes are bit masks."""

    def __init__(self, name: str, boxes: Sequence[Box]) -> None:
        spans = [
            (box[name].ranges[0][0], box[name].ranges[-1][1], i) for i, box in enumerate(boxes) if name in box
        ]
        lows = sorted((low, i) for low, _, i in spans)
        highs = sorted((high, i) for _, high, i in spans)
        self.lows = [low for low, _ in lows]
        self.highs = [high for high, _ in highs]
        self.started = list(accumulate((1 << i for _, i in lows), or_, initial=0))
        self.ended = list(accumulate((1 << i for _, i in highs), or_, initial=0))
        self.free = ((1 << len(boxes)) - 1) & ~self.started[-1]

    def touching(self, low: int, high: int) -> int:
        """Boxes whose span meets low..high, and those that do not test the field."""
        started = self.started[bisect_right(self.lows, high)]
        return started & ~self.ended[bisect_left(self.highs, low)] | self.free


class _Index:
    """Finds boxes near a box by the ends of their spans: never misses one, may name too many."""

    def __init__(self, boxes: Sequence[Box]) -> None:
        names = {name for box in boxes for name in box}
        self._columns = {name: _Column(name, boxes) for name in sorted(names)}
        self._all = (1 << len(boxes)) - 1

    def near(self, box: Box) -> int:
        """Boxes that may have a packet in common with this one."""
        found = self._all
        for name, values in box.items():
            found &= self._columns[name].touching(values.ranges[0][0], values.ranges[-1][1])
        return found

    def at(self, point: dict[str, int], box: Box) -> int:
        """Boxes that may take the sample packet of `box`."""
        found = self._all
        for name, column in self._columns.items():
            if name in point:
                found &= column.touching(point[name], point[name])
            elif not present(name, box):
                found &= column.free
        return found
