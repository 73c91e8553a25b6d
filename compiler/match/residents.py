"""A list for endpoints as one of them sees it: what is known of the ends of a packet is answered beforehand.

The list asks which selections take the judged endpoint and whoever has the other address (`subject#N`,
`peer#N`). With an inventory, the first is settled for each endpoint, and the second is a test of addresses.
What is left is a list like those of other hooks, for planes that have no word for labels. Knows the match IR
and inventories; must never know a plane.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.inventory import Entry, Inventory, selected
from lockgate.stdlib_bpf.labels import Selection
from lockgate.stdlib_bpf.sets import IntervalSet

from .ir import Match, MatchProgram
from .passes import PASSES

WIDTHS = {4: 32, 6: 128}
FAMILIES = {4: fields.IP4, 6: fields.IP6}


@dataclass(frozen=True)
class Resident:
    """An endpoint with the numbers of the selections that take it."""

    entry: Entry
    selected: frozenset[int]


def residents(inventory: Inventory, selections: tuple[Selection, ...]) -> list[Resident]:
    """All endpoints of an inventory."""
    taken = selected(inventory, selections)
    return [Resident(*pair) for pair in zip(inventory.entries, taken, strict=True)]


def addresses(entries: Iterable[Entry], family: int) -> IntervalSet:
    """Addresses of endpoints in a family (4 or 6)."""
    return IntervalSet.of(*(value for one in entries for f, value in one.addresses if f == family))


class Lists:
    """The lists of all endpoints of one inventory. `program`: the list for everybody; `subjects`: selections
    that it asks about the judged endpoint, so that whoever the same of them take has the same list."""

    def __init__(self, program: MatchProgram, known: Iterable[Resident]) -> None:
        self.program, self._known = program, list(known)
        self._peers: dict[tuple[int, int], IntervalSet] = {}
        # Matches by a selection that must take the judged endpoint, so that others need not be looked at.
        self._by_subject: dict[int, list[int]] = defaultdict(list)
        self._others: list[int] = []
        for place, match in enumerate(program.matches):
            needed = (_of(name, fields.SUBJECT) for name, values in match.tests if 0 not in values)
            number = next((n for n in needed if n is not None), None)
            (self._others if number is None else self._by_subject[number]).append(place)
        asked = (_of(name, fields.SUBJECT) for match in program.matches for name, _ in match.tests)
        self.subjects = frozenset(number for number in asked if number is not None)

    def of(self, taken: frozenset[int], direction: str) -> MatchProgram:
        """The list for an endpoint that these selections take, in a direction (as in `fields.DIRECTIONS`)."""
        places = sorted(
            [*self._others, *(p for n in taken & self._by_subject.keys() for p in self._by_subject[n])]
        )
        found = (one for p in places for one in self._seen(self.program.matches[p], taken, direction))
        program = replace(self.program, direction=direction, matches=tuple(found), selections=())
        for optimise in PASSES:
            program = optimise(program)
        return program

    def _seen(self, match: Match, taken: frozenset[int], direction: str) -> Iterator[Match]:
        """What is left of a match: nothing, itself, or one for each family where it asks who the peer is."""
        rest, peers = dict[str, IntervalSet](), list[tuple[int, bool]]()
        for name, values in match.tests:
            if (answer := _settled(name, taken, direction)) is not None:
                if answer not in values:
                    return
            elif (number := _of(name, fields.PEER)) is not None:
                peers += [(number, 1 in values)] if values.count == 1 else []
            else:
                rest[name] = values
        families = FAMILIES if peers else {}
        for family in families:
            if (narrowed := self._of_family(rest, family, peers, direction)) is not None:
                yield _match(narrowed, match)
        if not peers:
            yield _match(rest, match)

    def _of_family(
        self, tests: Mapping[str, IntervalSet], family: int, peers: list[tuple[int, bool]], direction: str
    ) -> dict[str, IntervalSet] | None:
        """The tests of a match in a family, with who the peer is as a test of its address; None where nothing
        can satisfy them."""
        kind = tests.get("eth.type", FAMILIES[family]) & FAMILIES[family]
        if not kind or any(_family_of(name) not in (None, family) for name in tests):
            return None
        side = "src" if direction == "ingress" else "dst"
        field = f"ip{family}.{side}"
        values = tests.get(field, IntervalSet.full(WIDTHS[family]))
        for number, inside in peers:
            them = self._peer(number, family)
            values = values & them if inside else values - them
        return {**tests, "eth.type": kind, field: values} if values else None

    def _peer(self, number: int, family: int) -> IntervalSet:
        if (number, family) not in self._peers:
            there = (one.entry for one in self._known if number in one.selected)
            self._peers[number, family] = addresses(there, family)
        return self._peers[number, family]


def _of(name: str, end: str) -> int | None:
    split = fields.split_selected(name)
    return split[1] if split is not None and split[0] == end else None


def _settled(name: str, taken: frozenset[int], direction: str) -> int | None:
    """The value of a field that is the same for every packet in that direction of an endpoint."""
    if name == "flow.direction":
        return fields.DIRECTIONS.index(direction)
    number = _of(name, fields.SUBJECT)
    return None if number is None else int(number in taken)


def _family_of(name: str) -> int | None:
    return next((f for f in FAMILIES if name.startswith((f"ip{f}.", f"icmp{'' if f == 4 else 6}."))), None)


def _match(tests: Mapping[str, IntervalSet], match: Match) -> Match:
    listed = sorted(tests.items(), key=lambda test: fields.sort_key(test[0]))
    return Match(tuple(listed), match.rule, match.origins)
