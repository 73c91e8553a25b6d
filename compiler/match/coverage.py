"""Which matches can never decide, because earlier ones together take every packet they describe.

A match is probed: earlier matches that take its lowest packet are taken away from it, then those that take
the lowest packet of what is left, until nothing is, or nobody takes that packet. So most matches cost one
look into an index of boxes. The work for one match is bounded; past the bound the answer is "not covered",
which is always safe. Answers depend on earlier *uncovered* matches only, so dropping the covered ones changes
none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from lockgate.stdlib_bpf import fields

from .boxes import Box, inside, present, weight, without
from .ir import MatchProgram

GENERAL = frozenset({"eth.type", "ip.proto"})
MAX_LOOKS = 500  # boxes looked at for one packet of a match
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
    that may let a packet go on covers only its own later matches, which are passed over then. Where a rule
    leads to a later one, those between cover nothing from there on."""
    boxes: list[Box] = [dict(match.tests) for match in program.matches]
    names = sorted({name for box in boxes for name in box})
    taking, own = _Index(), _Index()  # what keeps its packets: of rules that decide, of the rule at hand
    rule = -1
    answers: list[tuple[int, ...] | None] = []
    leaps = leaps_of(program)
    for i, (match, box) in enumerate(zip(program.matches, boxes, strict=True)):
        if match.rule != rule:
            if any(rule < target <= match.rule for target in leaps):
                taking = _kept(program, boxes, answers, leaps, match.rule)
            rule, own = match.rule, _Index()
        answer = _covering(box, boxes, (taking, own), names)
        answers.append(answer)
        if answer is None:
            (taking if program.rules[rule].final else own).add(i, box)
    return answers


def leaps_of(program: MatchProgram) -> dict[int, int]:
    """Rules that others lead to → the first rule that does."""
    found: dict[int, int] = {}
    for index, rule in enumerate(program.rules):
        if rule.resume is not None:
            found.setdefault(rule.resume, index)
    return found


def _kept(
    program: MatchProgram,
    boxes: Sequence[Box],
    answers: Sequence[tuple[int, ...] | None],
    leaps: dict[int, int],
    rule: int,
) -> _Index:
    """What takes packets before they come to `rule`, on every way that leads there."""
    spans = [(first, target) for target, first in leaps.items() if target <= rule]
    index = _Index()
    for i, answer in enumerate(answers):
        taker = program.matches[i].rule
        leapt = any(first < taker < target for first, target in spans)
        if answer is None and program.rules[taker].final and not leapt:
            index.add(i, boxes[i])
    return index


def _covering(
    box: Box, boxes: Sequence[Box], indices: Sequence[_Index], names: Sequence[str]
) -> tuple[int, ...] | None:
    left: list[Box] = [box]
    used: set[int] = set()
    work = 0
    while left:
        piece = left.pop()
        takers = _takers(piece, boxes, indices, names)
        whole = (i for i in takers if inside(piece, boxes[i]))
        taker = next(whole, next(iter(takers), None))
        if taker is None:
            return None
        work += weight(piece) + weight(boxes[taker])
        parts = without(piece, boxes[taker])
        assert parts is not None  # it takes a packet of the piece
        left += parts
        used.add(taker)
        if work > MAX_WORK or len(left) > MAX_FRAGMENTS:
            return None
    return tuple(sorted(used))


def _takers(box: Box, boxes: Sequence[Box], indices: Sequence[_Index], names: Sequence[str]) -> list[int]:
    """Boxes that take the lowest packet of a box, ascending."""
    packet = {name: values.ranges[0][0] for name, values in box.items()}
    packet |= {n: fields.lookup(n).least for n in names if n not in packet and present(n, box)}
    near = (i for index in indices for i in index.at(packet))
    return sorted(i for i in islice(near, MAX_LOOKS) if _takes(boxes[i], packet))


def _takes(box: Box, packet: dict[str, int]) -> bool:
    return all(name in packet and packet[name] in values for name, values in box.items())


class _Index:
    """Boxes, found again by a packet: never misses one that takes it, may name others. A box lies under the
    smallest aligned block that holds all its values of one field: the field for which that says most."""

    def __init__(self) -> None:
        self._anywhere: list[int] = []
        self._blocks: dict[str, dict[int, dict[int, list[int]]]] = {}  # field → free bits → block → boxes

    def add(self, number: int, box: Box) -> None:
        """Add a box under its number."""
        known, name, free = max((_known_bits(name, box) for name in box), default=(0, "", 0))
        if known <= 0:
            self._anywhere.append(number)
            return
        block = box[name].ranges[0][0] >> free
        self._blocks.setdefault(name, {}).setdefault(free, {}).setdefault(block, []).append(number)

    def at(self, packet: dict[str, int]) -> Iterator[int]:
        """Numbers of the boxes that may take a packet."""
        yield from self._anywhere
        for name, levels in self._blocks.items():
            value = packet.get(name)
            if value is not None:
                for free, blocks in levels.items():
                    yield from blocks.get(value >> free, ())


def _known_bits(name: str, box: Box) -> tuple[int, str, int]:
    """(leading bits that all values of a field have in common, the field, the other bits). Kinds of packets
    are so few that knowing one says little."""
    low, high = box[name].ranges[0][0], box[name].ranges[-1][1]
    free = (low ^ high).bit_length()
    return 0 if name in GENERAL else fields.lookup(name).width_bits - free, name, free
