"""Tests of policies for endpoints: who the endpoints are, and at which ends a packet is judged.

`given NAME = [labels]` is an endpoint with exactly these labels, and so is a selector in an expectation. A
test of one policy judges a packet at the ends that this policy selects, any other at each end that is an
endpoint: first where it is sent, then where it arrives. Knows sentences; must never decide a packet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.decode.frame import Frame, decode
from lockgate.stdlib_bpf.labels import HERE, HOST, WORKLOAD, Selection, Selector
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state.endpoints import POINTS

from .. import errors, frames
from ..syntax import tree as t
from . import model
from . import names as builtin
from .actions import Place
from .expect import MAX_REPEAT, Tests
from .model import AllOf, Chain, End, FieldTest, Party, Prefixes, Traffic
from .options import duration_ns
from .rules import Parts
from .selectors import exact_labels
from .tiered import HOOK

SUBJECT_OF = {"ingress": "to", "egress": "from"}  # which side of a packet is judged
POINT_OF = {(way, kind): point for point, (way, kind) in POINTS.items()}
Labels = dict[str, str]
OUTCOMES = {"allowed": "allow", "dropped": "drop"}
GIVEN = "given"  # as a kind of a selector: the one endpoint of a test that is called so
ADDRESSES = {4: 0x0AF40000, 6: 0xFD00 << 112 | 0x0244 << 96}  # 10.244.0.0 and fd00:244::, counted up
SYN, ACK = 0x02, 0x10
ECHO = {8: 0, 128: 129}  # request → reply, of ICMP and ICMPv6
OPENS = FieldTest("flow.opens", IntervalSet.of(1))


def party_selection(name: str) -> Selection:
    """The selection that takes a test's endpoint of that name, and nobody else."""
    return Selection((Selector(f"{GIVEN} {name}"),))


class EndpointTests(Tests):
    """Checks test blocks; those about endpoints here, others as ever."""

    parties: dict[str, Party]

    def test(self, test: t.Test, chains: Sequence[Chain]) -> model.Test:
        """The test; without what was complained about."""
        self.parties = {}
        chain = next((c for c in chains if c.hook == HOOK.name), None)
        policy = None if test.policy is None else self.scope.lookup(test.policy)
        endpoints = isinstance(policy, t.Policy) and isinstance(policy.scope, t.EndpointScope)
        if chain is None or not (endpoints or test.policy is None):
            return super().test(test, chains)
        if test.policy is not None:
            self.scope.find(test.policy, t.Policy)
        return self._between(test, test.policy.text if test.policy else "", chain)

    def _between(self, test: t.Test, policy: str, chain: Chain) -> model.Test:
        given: dict[str, Prefixes] = {}
        expects: list[model.Expect] = []
        asserts: list[model.Assert] = []
        now_ns = 0
        sound = True  # the last packet: nothing more is said about what follows one that is not
        for step in test.steps:
            match step:
                case t.NotYet(span, what):
                    self._complain(errors.NotYet(what, span))
                case t.Given(_, _, t.Selector()) | t.Given(_, _, _, True):
                    self._party(step)
                case t.Given():
                    self._given(step, given)
                case t.After():
                    now_ns += duration_ns(step.duration.text)
                case t.Assert():
                    asserts += [found for found in (self._claim(step, policy, chain),) if found is not None]
                case t.Expect():
                    expect = self._judged(step, policy, chain)
                    sound = expect is not None
                    expects += [] if expect is None else [replace(expect, time_ns=now_ns)]
                case t.ExpectReply():
                    answer = self._answered(step, expects[-1] if expects else None, sound)
                    expects += [] if answer is None else [replace(answer, time_ns=now_ns)]
        self.networks.given = {}
        return model.Test(
            test.span, test.title.text, given, tuple(expects), tuple(asserts), dict(self.parties)
        )

    # ---- endpoints ----

    def _party(self, step: t.Given) -> None:
        if not isinstance(step.value, t.Selector):
            reason = "names hosts: write their labels, as in `hosts [role=node]`"
            self._complain(errors.NotOnePacket(f"`{step.name.text}`", step.value.span, reason))
            return
        known = self.scope.lookup(step.name)
        known = None if isinstance(known, t.Policy) else known  # which is never where an address is
        if known is not None or step.name.text in builtin.ENTITIES:
            where = step.name.span if known is None else known.name.span
            self._complain(errors.DuplicateName(step.name.text, step.name.span, where))
        elif step.name.text in self.parties:
            self._complain(errors.Repeated(f"`given {step.name.text}`", step.span, step.name.span))
        else:
            self._described(step.name.text, step.value, HOST if step.hosts else WORKLOAD)

    def _described(self, name: str, node: t.Selector, kind: str) -> Party | None:
        """The endpoint that has exactly the labels of a selector; None after a complaint."""
        labels = exact_labels(node)
        if labels is None:
            reason = "does not say one value of each label: join `=` by commas"
            if not any(d.labels and d.labels[0].span == node.span for d in self.sink.diagnostics):
                self._complain(errors.NotOnePacket(f"`{node.span.text}`", node.span, reason))
            return None
        return self._introduce(name, kind, *labels)

    def _introduce(self, name: str, kind: str, labels: Labels, namespace: Labels) -> Party:
        """An endpoint, new unless it has been named before."""
        if name in self.parties:
            return self.parties[name]
        place = len(self.parties) + 1
        party = Party(
            name,
            kind,
            labels,
            namespace,
            tuple((family, base + place) for family, base in ADDRESSES.items()),
        )
        self.parties[name] = party
        number = self.networks.selections.number(party_selection(name))
        self.networks.given[name] = model.Selected(number)
        return party

    def _party_of(self, side: t.Side | None) -> Party | None:
        """The endpoint that an end of a packet is, None for an address that nobody has."""
        match side.network if side is not None else None:
            case t.Name(_, "self"):
                return self._introduce("self", HOST, {}, HERE)
            case t.Name(_, text):
                return self.parties.get(text)
            case t.Selector() as node:
                return self._described(node.span.text, node, WORKLOAD)
        return None

    # ---- one packet ----

    def _judged(self, step: t.Expect, policy: str, chain: Chain) -> model.Expect | None:
        before = self.sink.errors
        self.rules.action(step.action, HOOK, decides=True)
        if step.repeat is not None:
            self.networks.in_range("`repeat`", step.repeat, 1, MAX_REPEAT)
        sides = {part.side: part for part in step.parts if isinstance(part, t.Side)}
        by = self._decider(step, policy)
        self._into(step)
        self._answer(step, HOOK)
        ends = self._where_judged(step, policy, chain, sides)
        packet = self._packet(step, Place.of(chain, one_packet=True))
        if not isinstance(packet, Frame) or self.sink.errors > before:
            return None
        repeat = 1 if step.repeat is None else step.repeat.value
        return model.Expect(step.span, chain.name, packet, step.action.text, by, repeat, ends=ends)

    def _where_judged(
        self, step: t.Expect, policy: str, chain: Chain, sides: dict[str, t.Side]
    ) -> tuple[End, ...]:
        wanted = None if step.direction is None else step.direction.text
        ends = []
        for direction in ("egress", "ingress"):
            party = self._party_of(sides.get(SUBJECT_OF[direction]))
            asked = wanted in (None, direction)
            if party is not None and asked and self._selects(policy, direction, party, chain):
                ends.append(End(party.name, POINT_OF[direction, party.kind]))
        if not ends and wanted is None and not policy:
            reason = "is between no endpoints: say who they are by `given NAME = [labels]`"
            self._complain(errors.NotOnePacket("this packet", step.span, reason))
        elif not ends:
            reason = f"is not judged by `{policy}`" if policy else f"has no endpoint at {wanted}"
            self._complain(errors.NotOnePacket("this packet", step.span, reason))
        return tuple(ends)

    def _selects(self, policy: str, direction: str, party: Party, chain: Chain) -> bool:
        """Whether the policy that is tested speaks of an endpoint in a direction; every one for ""."""
        return not policy or any(
            chain.selections[section.selection].takes(party.kind, party.labels, party.namespace)
            for section in chain.sections
            if (section.policy, section.direction) == (policy, direction)
        )

    def _decider(self, step: t.Expect, policy: str) -> str | None:
        """The rule that is to decide, by the name that it has in the list."""
        if step.by is None or step.by.text in builtin.NO_RULE_NAMES:
            return None if step.by is None else step.by.text
        own = self.policies.labels(policy, None) if policy else {}
        listed = {f"{name}.{rule}": span for name, rule, span in self.policies.named}
        if step.by.text not in own and step.by.text not in listed:
            known = tuple((own or listed).items())
            self._complain(errors.UnknownName("rule", step.by.text, step.by.span, known))
        return f"{policy}.{step.by.text}" if step.by.text in own else step.by.text

    def _ends(self, parts: Parts, kind: Traffic) -> dict[str, tuple[int, int] | None]:
        """Endpoints have an address of each family: that of the other end, else of the traffic, counts."""
        parties = {side: self._party_of(part) for side, part in parts.sides.items()}
        others = {side: part for side, part in parts.sides.items() if parties[side] is None}
        ends = {s: self._address(p) for s, p in others.items() if not isinstance(p.network, t.Selector)}
        spoken = {end[0] for end in ends.values() if end is not None}
        only6 = kind.eth_types is not None and kind.eth_types.issubset(fields.IP6)
        family = min(spoken) if spoken else 6 if only6 else 4
        for side, party in parties.items():
            if party is not None:
                ends[side] = next(address for address in party.addresses if address[0] == family)
        return ends

    # ---- its answer ----

    def _answered(self, step: t.ExpectReply, asked: model.Expect | None, sound: bool) -> model.Expect | None:
        outcome = OUTCOMES.get(step.outcome.text)
        if outcome is None:
            known = tuple((word, None) for word in OUTCOMES)
            self._complain(errors.UnknownName("outcome", step.outcome.text, step.outcome.span, known))
        for word in step.misplaced:
            why = "an answer goes the other way, and follows its flow"
            self._complain(errors.MisplacedOption(f"`{word.span.text}`", word.span, why, "leave it out"))
        if not sound:
            return None
        frame = None if asked is None or not isinstance(asked.packet, Frame) else _answer_to(asked.packet)
        if asked is None or frame is None:
            reason = "answers nothing: " + (
                "no packet comes before it" if asked is None else "the packet before it has no answer"
            )
            self._complain(errors.NotOnePacket("`expect reply`", step.span, reason))
            return None
        if outcome is None:
            return None
        ends = tuple(replace(end, point=_OTHER_WAY[end.point]) for end in reversed(asked.ends))
        return model.Expect(step.span, asked.chain, frame, outcome, ends=ends, answers=True)

    # ---- every packet ----

    def _claim(self, step: t.Assert, policy: str, chain: Chain) -> model.Assert | None:
        if not self.rules.action(step.action, HOOK, decides=True):
            return None
        sentence = t.Rule(step.span, None, step.action, step.kinds, step.parts)
        rule = self.rules.rule(sentence, Place.of(chain, one_packet=False), effects=False)
        if rule is None:
            return None
        where = OPENS if rule.where is None else AllOf((OPENS, rule.where))
        directions = ("ingress", "egress") if step.direction is None else (step.direction.text,)
        table = tuple(self.networks.selections.listed)
        return model.Assert(step.span, chain.name, replace(rule, where=where), directions, policy, table)


_BACK = {"ingress": "egress", "egress": "ingress"}
_OTHER_WAY = {point: POINT_OF[_BACK[way], kind] for point, (way, kind) in POINTS.items()}


def _answer_to(packet: Frame) -> Frame | None:
    """The usual answer: ends exchanged; SYN and ACK to a SYN, ACK to other TCP; an echo reply. None to what
    nobody answers."""
    facts = decode(packet)
    if not isinstance(facts, dict) or "l4.proto" not in facts:
        return None
    names = ("eth.type", "ip.proto", "ip4.src", "ip4.dst", "ip6.src", "ip6.dst", "th.sport", "th.dport")
    asked = {_TURNED.get(name, name): facts[name] for name in names if name in facts}
    if "tcp.flags" in facts:
        asked["tcp.flags"] = ACK | facts["tcp.flags"] & SYN
    for field in ("icmp.type", "icmp6.type"):
        if field in facts:
            if facts[field] not in ECHO:
                return None
            asked[field] = ECHO[facts[field]]
    return frames.build(asked)


_PAIRS = (("ip4.src", "ip4.dst"), ("ip6.src", "ip6.dst"), ("th.sport", "th.dport"))
_TURNED = dict(_PAIRS) | {other: one for one, other in _PAIRS}
