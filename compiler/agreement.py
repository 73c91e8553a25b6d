"""Policies of one tier that disagree: a packet to which two of them, neither of which comes first by its
order, give different answers.

Which of the two decided it would depend on their names. Found by subtraction: what a rule of one policy takes
is asked of the other; a piece that gets another answer counts only when there are labels for both ends and a
packet, and the reference says so. With an inventory only endpoints that exist count.

Knows sections of a rule list, boxes and sorts of endpoints; must never know text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from lockgate.stdlib_bpf.decode.frame import Facts
from lockgate.stdlib_bpf.fields import DIRECTIONS, IP, PEER, SUBJECT, split_selected
from lockgate.stdlib_bpf.inventory import Inventory
from lockgate.stdlib_bpf.labels import Selection
from lockgate.stdlib_bpf.state import flows

from . import proof
from .claims import bits, fits, narrowed
from .match.boxes import Box, without
from .match.ir import Match, MatchProgram
from .match.prove import TooMuchWork, suspects
from .policy.decide import matches
from .policy.model import Chain, Rule, Section
from .policy.tiered import FAILSAFE
from .populations import NOBODY, Sort, TooManySorts, existing, imagined

PASS, CONTINUE = "pass", "continue"
MAX_TRIES = 100  # boxes and labels tried for a packet of one pair
MAX_PIECES = 500  # that what a rule takes may fall into
MAX_TOLD = 20


@dataclass(frozen=True)
class Disagreement:
    """Two rules of policies of one tier, and a packet for which they answer differently: `text` without who
    its ends are, in a direction."""

    tier: str
    direction: str
    rules: tuple[Rule, Rule]
    text: str
    subject: Sort
    peer: Sort

    @property
    def packet(self) -> str:
        """The packet, with its ends by their labels."""
        ends = (self.peer, self.subject) if self.direction == "ingress" else (self.subject, self.peer)
        source, destination = (end.text for end in ends)
        return f"{self.text}   from {source} to {destination}"


def disagreements(chain: Chain, program: MatchProgram, inventory: Inventory | None) -> Iterator[Disagreement]:
    """At most one for each pair of policies, at most MAX_TOLD. `program`: the chain as matches. `inventory`:
    None where it is not known which endpoints there are."""
    people = None if inventory is None else existing(chain.selections, inventory)
    told: set[tuple[str, str]] = set()
    for one, other in _pairs(chain):
        pair = (one.policy, other.policy)
        if pair in told or len(told) >= MAX_TOLD:
            continue
        found = _Pair(chain, program, one, other, people).disagreement()
        if found is not None:
            told.add(pair)
            yield found


def _pairs(chain: Chain) -> Iterator[tuple[Section, Section]]:
    """Sections that are asked about the same packets, neither before the other by order."""
    groups: dict[tuple[str, str, int | None], list[Section]] = {}
    for section in chain.sections:
        if section.policy not in ("", FAILSAFE) and not section.audit:
            groups.setdefault((section.tier, section.direction, section.order), []).append(section)
    for members in groups.values():
        yield from combinations(members, 2)


@dataclass
class _Pair:
    chain: Chain
    program: MatchProgram
    one: Section
    other: Section
    people: Sequence[Sort] | None

    def disagreement(self) -> Disagreement | None:
        answers = {rule.verdict for section in (self.one, self.other) for rule in self._rules(section)}
        if len(answers - {CONTINUE}) < 2:
            return None
        try:
            self.sorts = self._sorts()
            if not self._subjects({}):
                return None
            return self._sought(self.one, self.other) or self._sought(self.other, self.one)
        except (TooMuchWork, TooManySorts):
            return None

    def _rules(self, section: Section) -> tuple[Rule, ...]:
        return self.chain.rules[section.first : section.last]

    def _sorts(self) -> Sequence[Sort]:
        """Who there can be, as far as the rules of the two tell."""
        if self.people is not None:
            return self.people
        asked = {self.one.selection, self.other.selection}
        for match in self._matches(self.one) + self._matches(self.other):
            asked |= {found[1] for name, _ in match.tests if (found := split_selected(name)) is not None}
        nobody = Selection(())
        return imagined([s if n in asked else nobody for n, s in enumerate(self.chain.selections)])

    def _subjects(self, box: Box) -> list[Sort]:
        both = {self.one.selection, self.other.selection}
        return [sort for sort in self.sorts if both <= sort.selected and fits(box, SUBJECT, sort)]

    def _peers(self, box: Box) -> list[Sort]:
        return [sort for sort in (NOBODY, *self.sorts) if fits(box, PEER, sort)]

    def _matches(self, section: Section) -> list[Match]:
        return [m for m in self.program.matches if section.first <= m.rule < section.last]

    def _sought(self, taker: Section, asked: Section) -> Disagreement | None:
        """A packet that a rule of `taker` decides and `asked` decides otherwise."""
        alone = self._alone(asked)
        tries = 0
        for match in self._matches(taker):
            verdict = self.chain.rules[match.rule].verdict
            if verdict == CONTINUE:
                continue
            for box in self._taken(match, taker):
                for suspect in suspects(replace(alone, default=verdict), [box], verdict):
                    found = self._packet(suspect.box)
                    tries += 1
                    if found is not None or tries >= MAX_TRIES:
                        return found
        return None

    def _alone(self, section: Section) -> MatchProgram:
        """The rules of a section only, whose `pass` is an answer."""
        rules = tuple(
            replace(rule, passing=rule.verdict == CONTINUE, resume=None) for rule in self.program.rules
        )
        return replace(self.program, rules=rules, matches=tuple(self._matches(section)))

    def _taken(self, match: Match, section: Section) -> Iterator[Box]:
        """What a match takes of what earlier rules of its policy leave, of endpoints that both select."""
        box = dict(match.tests)
        subjects, peers = self._subjects(box), self._peers(box)
        if not subjects or not peers:
            return
        count = len(self.chain.selections)
        left: list[Box] = [
            part
            for cut in narrowed(box, SUBJECT, subjects, count)
            for part in narrowed(cut, PEER, peers, count)
        ]
        for earlier in self._matches(section):
            rule = self.chain.rules[earlier.rule]
            if earlier.rule >= match.rule or len(left) > MAX_PIECES:
                break
            if rule.verdict != CONTINUE and rule.limit is None:
                cut_off = dict(earlier.tests)
                left = [p for piece in left for p in (without(piece, cut_off) or _whole(piece, cut_off))]
        yield from left[:MAX_PIECES]

    def _packet(self, box: Box) -> Disagreement | None:
        for subject in self._subjects(box)[:4]:
            for peer in self._peers(box)[:4]:
                for text, seen, _ in proof.packets(self.chain, box, {}):
                    facts = self._seen(seen, subject, peer)
                    first, second = self._answer(self.one, facts), self._answer(self.other, facts)
                    if first is not None and second is not None and first.verdict != second.verdict:
                        place = self.one.tier, self.one.direction
                        return Disagreement(*place, (first, second), text, subject, peer)
        return None

    def _seen(self, facts: Facts, subject: Sort, peer: Sort) -> Facts:
        count = len(self.chain.selections)
        out = facts | {"flow.direction": DIRECTIONS.index(self.one.direction)}
        out |= {"flow.opens": flows.opens(facts)} | bits(subject, SUBJECT, count)
        return out | (bits(peer, PEER, count) if facts["eth.type"] in IP else {})

    def _answer(self, section: Section, facts: Facts) -> Rule | None:
        """The rule of a policy that decides, if one does."""
        return next(
            (r for r in self._rules(section) if r.verdict != CONTINUE and matches(r, facts, {})), None
        )


def _whole(piece: Box, taken: Box) -> list[Box]:
    """The piece, where it has nothing in common with what is taken; nothing where all of it is."""
    return [piece] if without(piece, taken) is None else []
