"""Matches to a plan: split by family, then per family one chain of matches, each a chain of tests.

    0: eth.type in 0x0800 ? 1 : 4          (the split)
    1: ip4.src & 255.0.0.0 = 10.0.0.0 ? 2 : 7 for 0
    2: l4.proto in 6 ? 3 : 7 for 0
    3: th.dport in 443 ? 8 : 7 for 0

A chain is right for tens of matches; packets of TCP, of UDP and all others go apart where that leaves each
with far fewer (`protocols`). Longer runs that only compare fields become one link of it, a classifier
(`classify`); then packets with and without ports go apart first, since what is classified must be there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

from ..match.ir import MatchProgram
from . import classify, protocols
from .builder import Builder
from .chain import Chain, Look, with_looks
from .choose import INLINE, LATENCY, STRUCTURES, Chooser, Form, Goal
from .classify import Piece, Side
from .ir import DEFAULT, Between, Classifier, Plan
from .order import ordered
from .profiled import Hits, early, hot, reaching, reordered
from .specialise import L4_PROTO, REST, Conjunction, specialise
from .tagging import Tagging


def lower(
    program: MatchProgram,
    structures: frozenset[str] | None = None,
    goal: Goal = LATENCY,
    hits: Hits | None = None,
) -> Plan:
    """Plan a verified program. `structures`: names of lookup structures it may use (of `STRUCTURES`, which
    has "inline" besides the kinds of tables and classifiers), None for all; where "inline" is not among them
    a classifier takes every match that it can. `goal`: what tables are chosen for; `hits`: how many packets
    each rule decided, of a profile, None without one. ValueError for an unknown name."""
    growing = _Growing(program, STRUCTURES if structures is None else structures, goal, hits)
    # Entered first, numbered first: the side of IPv4 is grown last. Tables are named the other way round.
    sides = [growing.planned(eth_types, family) for eth_types, family in SIDES]
    rest, six, four = (growing.grown(side) for side in reversed(sides))
    builder = growing.builder
    entry = _split(builder, fields.ETH_P_IP, four, _split(builder, fields.ETH_P_IPV6, six, rest))
    return Plan(
        name=program.name,
        hook=program.hook,
        direction=program.direction,
        default=program.default,
        rules=program.rules,
        tables=growing.chooser.tables,
        nodes=builder.finish(entry),
        devices=program.devices,
        cgroups=program.cgroups,
        fragments=program.fragments,
        forward=program.forward,
        classifiers=tuple(growing.classifiers),
        selections=program.selections,
        hot=tuple(sorted(growing.hot)),
        tags=growing.tagging.tags,
    )


PORTS = tuple(protocol for protocol, _ in fields.WITH_PORTS.ranges)
SIDES = ((fields.IP4, 4), (fields.IP6, 6), (REST, None))


@dataclass(frozen=True)
class _Planned:
    """The chain of a kind of packet; `apart`: those of packets whose `l4.proto` is one of some, which go
    apart first."""

    chain: Chain
    apart: tuple[tuple[tuple[int, ...], Chain], ...] = ()


class _Growing:
    """The plan of one program while it grows."""

    def __init__(
        self, program: MatchProgram, structures: frozenset[str], goal: Goal, hits: Hits | None
    ) -> None:
        if unknown := structures - STRUCTURES:
            raise ValueError(f"no such structure: {', '.join(sorted(unknown))}")
        self.program, self.structures = program, structures
        self.chooser = Chooser(structures, dict(program.live), goal)
        self.tagging = Tagging(self.chooser, structures, goal)
        self.builder = Builder()
        self.classifiers: list[Classifier] = []
        self.hits: Hits = hits or {}
        self.hot: set[int] = set()
        self.shares: dict[int, float] = {}  # of packets that reach each rule, of the kind that is planned

    def planned(self, eth_types: IntervalSet, family: int | None) -> _Planned:
        """Choose a form for every test, in the order of the matches, so that tables are named in that
        order."""
        parts = self._parts(specialise(self.program, eth_types))
        conjunctions = [one for _, part in parts for one in reordered(part, self.hits)]
        self.shares = reaching(conjunctions, self.hits)
        self.hot |= hot(self.shares, self.hits)
        if family is not None and classify.KIND in self.structures:
            sides = [classify.Side(family, ports, self.program.hook) for ports in (True, False)]
            split = [list(self._pieces(side, conjunctions)) for side in sides]
            if any(isinstance(piece, Classifier) for side in split for piece in side):
                return self._chains(split, [PORTS])
        if family is not None and protocols.worthwhile(conjunctions):
            alike = [protocols.narrowed(conjunctions, kind) for kind in protocols.KINDS]
            return self._chains([self._marked(found) for found in alike], [(p,) for p in protocols.APART])
        return self._chains([self._marked(conjunctions)], [])

    def _marked(self, conjunctions: Sequence[Conjunction]) -> list[Piece | int]:
        """The matches, and before each part the rule that it begins with."""
        found: list[Piece | int] = []
        for target, part in self._parts(conjunctions):
            found += [target, *part]
        return found

    def _chains(self, split: Sequence[Sequence[Piece | int]], apart: Sequence[tuple[int, ...]]) -> _Planned:
        """Chains of the packets of a kind: of those of the protocols `apart`, then of all others."""
        matches = [[piece for piece in found if isinstance(piece, Conjunction)] for found in split]
        self.tagging.decide(matches, self.shares if self.hits else {}, self.program.rules)
        *some, others = (with_looks(self._mixed(found), self.program.rules) for found in split)
        return _Planned(others, tuple(zip(apart, some, strict=True)))

    def _pieces(self, side: Side, conjunctions: Sequence[Conjunction]) -> Iterator[Piece | int]:
        always, narrowed = INLINE not in self.structures, side.narrowed(conjunctions)
        first = early(narrowed, self.hits)
        for target, part in self._parts(narrowed):
            yield target
            yield from classify.pieces(part, self.program.rules, side, always, first)

    def _parts(self, conjunctions: Sequence[Conjunction]) -> Iterator[tuple[int, Sequence[Conjunction]]]:
        """The matches in parts, each from a rule on that a rule before it leads to. Nothing may move from one
        part to another."""
        targets = {rule.resume for rule in self.program.rules if rule.resume is not None}
        bounds = [0, *sorted(targets), len(self.program.rules) + 1]
        for low, high in pairwise(bounds):
            yield low, [one for one in conjunctions if low <= one.rule < high]

    def _mixed(self, found: Sequence[Piece | int]) -> Chain:
        chain: Chain = []
        for piece in found:
            if isinstance(piece, int):
                chain.append(piece)
            elif isinstance(piece, Classifier):
                name = f"rules{len(self.classifiers)}"
                self.classifiers.append(replace(piece, name=name))
                chain.append(name)
            else:
                chain.append(self._link(piece))
        return chain

    def _link(self, one: Conjunction) -> tuple[int, list[Form]]:
        return one.rule, _forms(one.tests, self.chooser, self.shares[one.rule])

    def grown(self, side: _Planned) -> int:
        """The node where a kind of packet enters."""
        node = self._links(side.chain)
        for numbers, chain in reversed(side.apart):
            entry = self._links(chain)
            for protocol in reversed(numbers):
                node = self.builder.branch(Between(L4_PROTO, protocol, protocol), entry, node)
        return node

    def _links(self, chain: Chain) -> int:
        """First match wins: what fails in one match goes on with the next. A rule that lets the packet go on
        leads behind all its matches, or to a later rule."""
        builder, rules = self.builder, self.program.rules
        following = behind = builder.leaf(DEFAULT)
        current = DEFAULT
        parts: dict[int | None, int] = {}
        for link in reversed(chain):
            if isinstance(link, int):
                parts[link] = following
                continue
            if isinstance(link, Look):
                following = builder.tag(link.field, link.tags, following)
                continue
            if isinstance(link, str):
                following, current = builder.classify(link, following), DEFAULT
                continue
            rule, forms = link
            if rule != current:
                current, behind = rule, following
            onward = parts.get(rules[rule].resume, behind)
            node = builder.passing(rule, onward) if rules[rule].passing else builder.leaf(rule)
            if rules[rule].limit is not None:
                node = builder.admit(rule, node, behind)
            for form in reversed(forms):
                node = form.emit(builder, node, following, rule)
            following = node
        return following


def _forms(tests: tuple[tuple[str, IntervalSet], ...], chooser: Chooser, share: float) -> list[Form]:
    # Of what may be missing `ip.proto` is there in its family; every other field is by the time it is asked.
    doubtful = fields.ANSWERED - {"ip.proto"}
    planned = [
        (name, values, chooser.choose(name, values, name not in doubtful, share)) for name, values in tests
    ]
    return [form for _, _, form in ordered(planned)]


def _split(builder: Builder, eth_type: int, yes: int, no: int) -> int:
    return builder.branch(Between("eth.type", eth_type, eth_type), yes, no)
