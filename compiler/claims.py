"""Assertions about endpoints: proved for every packet and all labels, or shown wrong by one.

A packet between two endpoints is judged where it is sent and where it arrives, and dropped when one of the
two drops it. Which selections take an end is no free choice (`populations`), so what a proof leaves in doubt
counts only when there are labels for both ends and a packet, and the reference judges it so.

Knows boxes, sorts of endpoints and the reference; must never know text beyond an example's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.decode.frame import Facts
from lockgate.stdlib_bpf.fields import DIRECTIONS, PEER, SUBJECT, selected_field
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state import flows

from . import policy, proof
from .match.boxes import Box, domain
from .match.ir import MatchProgram
from .match.lower import conjunctions, lower
from .match.networks import Cubes
from .match.prove import TooMuchWork, suspects
from .policy.decide import matches
from .policy.model import Assert, Chain, Party, Prefixes
from .populations import NOBODY, Sort, TooManySorts, imagined, of_parties
from .proof import Unproved

EGRESS, INGRESS = "egress", "ingress"
MAX_SPLIT = 24  # sorts of one end that are looked at one by one
MAX_TRIES = 400  # boxes and labels tried for a packet that exists
TOO_MANY = "its selectors tell apart too many endpoints"
SWAPPED = {"ip4.src": "ip4.dst", "ip6.src": "ip6.dst", SUBJECT: PEER}
SWAPPED |= {other: one for one, other in SWAPPED.items()}


@dataclass(frozen=True)
class Counterexample:
    """A packet between two ends that gets another verdict than it should, from the end that decides."""

    source: Sort
    destination: Sort
    example: proof.Counterexample


def check(
    chain: Chain, claim: Assert, parties: Iterable[Party], given: Mapping[str, Prefixes]
) -> Counterexample | Unproved | None:
    """None when the assertion holds. `parties`: endpoints that the test names; `given`: contents of dynamic
    sets."""
    try:
        sorts = [*imagined(claim.selections), *of_parties(claim.selections, parties)]
        return _Claim(chain, claim, sorts, given).check()
    except TooManySorts:
        return Unproved(TOO_MANY)
    except TooMuchWork:
        return Unproved("the rules cut what it describes into too many pieces")


def bits(sort: Sort, end: str, count: int) -> Facts:
    """The fields of the first `count` selections at an end that is of a sort."""
    return {selected_field(end, number): int(number in sort.selected) for number in range(count)}


def fits(box: Box, end: str, sort: Sort) -> bool:
    """Whether an end of the packets of a box can be of a sort."""
    for name, values in box.items():
        found = fields.split_selected(name)
        if found is not None and found[0] == end and int(found[1] in sort.selected) not in values:
            return False
    return True


def narrowed(box: Box, end: str, sorts: Sequence[Sort], count: int) -> list[Box]:
    """The box cut by what an end can be, `sorts` being all that fit: with each of them where they are few,
    else with what is true of all."""
    if len(sorts) <= MAX_SPLIT:
        return [{**box, **_fixed(bits(sort, end, count), box)} for sort in sorts]
    common = [
        (number, member)
        for number in range(count)
        for member in (0, 1)
        if all((number in sort.selected) == bool(member) for sort in sorts)
    ]
    return [{**box, **_fixed({selected_field(end, n): member for n, member in common}, box)}]


def _fixed(values: Facts, box: Box) -> dict[str, IntervalSet]:
    """Tests of a peer's bits ask for an address that the box must say it has."""
    ip = box.get("eth.type", domain("eth.type")).issubset(fields.IP)
    return {n: IntervalSet.of(v) for n, v in values.items() if ip or n.startswith(SUBJECT)}


def swapped(box: Box) -> Box:
    """The box as the other end sees it."""
    out: dict[str, IntervalSet] = {}
    for name, values in box.items():
        if name == "flow.direction":
            values = IntervalSet.of(*(1 - value for value in (0, 1) if value in values))
        found = fields.split_selected(name)
        if found is not None:
            name = selected_field(SWAPPED[found[0]], found[1])
        out[name] = values
    return out


@dataclass
class _Claim:
    chain: Chain
    claim: Assert
    sorts: Sequence[Sort]
    given: Mapping[str, Prefixes]

    def __post_init__(self) -> None:
        self.program: MatchProgram = proof.told(lower(self.chain), self.given)
        self.tries = 0

    def check(self) -> Counterexample | Unproved | None:
        regions = {d: list(self._regions(d)) for d in self.claim.directions}
        if not any(regions.values()):
            return Unproved("it speaks of no endpoint that is judged")
        for direction, boxes in regions.items():
            for box in boxes:
                for survivor in suspects(self.program, [box], self.claim.rule.verdict):
                    found = self._survivor(survivor.box, direction)
                    if found is not None:
                        return found
                    if self.tries >= MAX_TRIES:
                        return Unproved("some packets might contradict it, and none was found that exists")
        return None

    def _regions(self, direction: str) -> Iterator[Box]:
        """What the claim describes, seen by those that are judged in a direction."""
        rule = replace(self.claim.rule, direction=direction)
        for tests in conjunctions(rule, Cubes()):
            box = proof.known(dict(tests), self.given)
            if box is None:
                continue
            subjects = [s for s in self.sorts if fits(box, SUBJECT, s) and self._judged(s, direction)]
            peers = [s for s in (NOBODY, *self.sorts) if fits(box, PEER, s)]
            if not subjects or not peers:
                continue
            count = len(self.claim.selections)
            for part in narrowed(box, SUBJECT, subjects, count):
                yield from narrowed(part, PEER, peers, count)

    def _judged(self, sort: Sort, direction: str) -> bool:
        """Whether an endpoint of a sort is judged in a direction, in this test."""
        if sort is NOBODY or direction not in self.claim.directions:
            return False
        return not self.claim.policy or any(
            (s.policy, s.direction) == (self.claim.policy, direction) and s.selection in sort.selected
            for s in self.chain.sections
        )

    def _survivor(self, box: Box, direction: str) -> Counterexample | None:
        """A counterexample among the packets of a box, which the end of a direction may answer otherwise.
        What is to be dropped must get past the other end, too."""
        other = EGRESS if direction == INGRESS else INGRESS
        subjects = [s for s in self.sorts if fits(box, SUBJECT, s) and self._judged(s, direction)]
        peers = [s for s in (NOBODY, *self.sorts) if fits(box, PEER, s)]
        for peer in peers:
            twice = self.claim.rule.verdict == "drop" and self._judged(peer, other)
            for subject in subjects:
                if subject is peer and subject.name:
                    continue  # nobody judges what an endpoint sends to itself
                here = {**box, **_fixed(bits(subject, SUBJECT, self._count), box)}
                here |= _fixed(bits(peer, PEER, self._count), box)
                views: Iterable[Box] = [here]
                if twice:
                    views = [swapped(s.box) for s in suspects(self.program, [swapped(here)], "drop")]
                for view in views:
                    self.tries += 1
                    found = self._packet(view, direction, subject, peer, twice)
                    if found is not None or self.tries >= MAX_TRIES:
                        return found
        return None

    @property
    def _count(self) -> int:
        return len(self.claim.selections)

    def _packet(
        self, box: Box, direction: str, subject: Sort, peer: Sort, twice: bool
    ) -> Counterexample | None:
        rule = replace(self.claim.rule, direction=direction)
        for text, seen, live in proof.packets(self.chain, box, self.given):
            facts = self._seen(seen, direction, subject, peer)
            if not matches(rule, facts, live):
                continue
            decision = policy.decide(self.chain, facts, live)
            if twice and decision.verdict != self.claim.rule.verdict:
                other = EGRESS if direction == INGRESS else INGRESS
                facts = self._seen(seen, other, peer, subject)
                decision = policy.decide(self.chain, facts, live)
            if decision.verdict != self.claim.rule.verdict:
                source, destination = (peer, subject) if direction == INGRESS else (subject, peer)
                assumed = tuple((name, held) for name, held in live.items() if name not in self.given)
                example = proof.Counterexample(text, facts, decision, self.chain.lists, assumed)
                return Counterexample(source, destination, example)
        return None

    def _seen(self, facts: Facts, direction: str, subject: Sort, peer: Sort) -> Facts:
        out = facts | {"flow.direction": DIRECTIONS.index(direction), "flow.opens": flows.opens(facts)}
        out |= bits(subject, SUBJECT, self._count)
        return out | (bits(peer, PEER, self._count) if facts["eth.type"] in fields.IP else {})


def ends(found: Counterexample) -> dict[str, str]:
    """Who is behind "from" and "to", as tests write it; nothing of an end that is nobody."""
    sides = {"from": found.source, "to": found.destination}
    return {side: sort.text for side, sort in sides.items() if sort is not NOBODY}
