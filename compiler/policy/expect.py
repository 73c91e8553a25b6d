"""`test` blocks to packets and the answers expected for them.

Knows how a sentence that describes one packet is read; must never decide one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lockgate.stdlib_bpf import fields, hooks
from lockgate.stdlib_bpf.decode.sock_addr import SocketCall
from lockgate.stdlib_bpf.sets import IntervalSet

from .. import errors
from ..diagnostics import Sink
from ..packet import Packet, arp_frame
from ..syntax import tree as t
from . import model, pending
from .actions import Place
from .check import Policies
from .families import families
from .model import Chain, Prefixes, Traffic
from .networks import BROKEN, Networks
from .options import duration_ns
from .resolve import Scope
from .rules import Parts
from .traffic import TrafficTypes, single

ARP = IntervalSet.of(fields.ETH_P_ARP)
MAX_REPEAT = 100_000
FAMILY_OF = {fields.ETH_P_IP: 4, fields.ETH_P_IPV6: 6}


class Tests:
    """Checks test blocks."""

    def __init__(self, scope: Scope, networks: Networks, traffic: TrafficTypes, policies: Policies) -> None:
        self.scope, self.networks, self.traffic = scope, networks, traffic
        self.policies, self.rules = policies, policies.rules
        self.sink: Sink = scope.sink

    def test(self, test: t.Test, chains: Sequence[Chain]) -> model.Test:
        """The test; without what was complained about."""
        given: dict[str, Prefixes] = {}
        expects: list[model.Expect] = []
        asserts: list[model.Assert] = []
        policy = None
        policies = [d for d in self.scope.program.main.decls if isinstance(d, t.Policy)]
        if test.policy is not None:
            policy = self.scope.find(test.policy, t.Policy)
        elif len(policies) == 1:
            policy = policies[0]
        else:
            self._complain(errors.NotYet("a test without `of POLICY`", test.title.span))
        now_ns = 0
        mine = [c for c in chains if policy is not None and c.policy == policy.name.text]
        for step in test.steps:
            match step:
                case t.NotYet():
                    pending.refuse(step, self.sink)
                case t.Assert() if mine:
                    found = self._assert(step, mine)
                    asserts += [found] if found is not None else []
                case t.After():
                    now_ns += duration_ns(step.duration.text)
                case t.Given():
                    self._given(step, given)
                case t.Expect() if policy is not None and mine:
                    expect = self._expect(step, policy, mine)
                    if expect is not None:
                        expects.append(replace(expect, time_ns=now_ns))
        return model.Test(test.span, test.title.text, given, tuple(expects), tuple(asserts))

    def _given(self, step: t.Given, given: dict[str, Prefixes]) -> None:
        if isinstance(step.value, t.NotYet):
            self._complain(errors.NotYet(step.value.what, step.value.span))
            return
        decl = self.scope.find(step.name, t.NetworkDecl)
        value = self.networks.value(step.value)
        if decl is None or value is BROKEN:
            return
        if not isinstance(decl.value, t.Dynamic):
            self._complain(
                errors.WrongKind(step.name.text, step.name.span, "fixed network", "dynamic set", decl.span)
            )
        elif not isinstance(value, Prefixes):
            self._complain(
                errors.NotOnePacket("`given`", step.value.span, "needs addresses, no sums or dynamic sets")
            )
        elif (name := self.scope.qualified(decl.name)) in given:
            self._complain(errors.Repeated(f"`given {step.name.text}`", step.span, step.name.span))
        else:
            given[name] = value

    def _assert(self, step: t.Assert, chains: Sequence[Chain]) -> model.Assert | None:
        hook = hooks.ALL[chains[0].hook]
        chain = self._chain(step, hook, chains)
        if not self.rules.action(step.action, hook, decides=True):
            return None
        sentence = t.Rule(step.span, None, step.action, step.kinds, step.parts)
        rule = self.rules.rule(sentence, Place(hook), effects=False)
        return None if chain is None or rule is None else model.Assert(step.span, chain.name, rule)

    def _expect(self, step: t.Expect, policy: t.Policy, chains: Sequence[Chain]) -> model.Expect | None:
        before = self.sink.errors
        hook = hooks.ALL[chains[0].hook]
        chain = self._chain(step, hook, chains)
        self.rules.action(step.action, hook, decides=True)
        if step.repeat is not None:
            self.networks.in_range("`repeat`", step.repeat, 1, MAX_REPEAT)
        by = self._by(step, policy, chain)
        into = self._into(step)
        self._answer(step, hook)
        packet = self._packet(step, hook)
        if chain is None or packet is None or self.sink.errors > before:
            return None
        repeat = 1 if step.repeat is None else step.repeat.value
        return model.Expect(
            step.span,
            chain.name,
            packet,
            step.action.text,
            by,
            repeat,
            into=into,
            how=None if step.how is None else step.how.text,
        )

    def _into(self, step: t.Expect) -> str | None:
        """The device that a packet is expected to go to."""
        if step.into is None:
            return None
        if step.action.text != "redirect":
            why = f"`{step.action.text}` sends nothing to another device"
            self._complain(errors.MisplacedOption("`into`", step.into.span, why, "expect `redirect`"))
            return None
        found = self.rules.actions.targets.devices((step.into,))
        if len(found) > 1:
            self._complain(errors.NeedsDevice("redirect", step.into.span, len(found)))
        return found[0].rpartition("/")[2] if len(found) == 1 else None

    def _answer(self, step: t.Expect, hook: hooks.Hook) -> None:
        """The answer that is expected of a rejection must be one that the hook has."""
        if step.how is None:
            return
        if step.action.text != "reject":
            why = f"`{step.action.text}` answers nobody"
            self._complain(errors.MisplacedOption("`with`", step.how.span, why, "expect `reject`"))
        elif step.how.text not in hook.answers:
            known = tuple((name, None) for name in hook.answers)
            self._complain(errors.UnknownName("answer", step.how.text, step.how.span, known))

    def _chain(self, step: t.Expect | t.Assert, hook: hooks.Hook, chains: Sequence[Chain]) -> Chain | None:
        if step.direction is not None:
            direction = step.direction.text
            found = next((c for c in chains if c.direction == direction), None)
            if found is None:
                self._complain(errors.WhichDirection(step.direction.span, tuple(c.direction for c in chains)))
            return found
        if len(chains) > 1:
            self._complain(errors.WhichDirection(step.action.span, tuple(c.direction for c in chains)))
            return None
        return chains[0]

    def _by(self, step: t.Expect, policy: t.Policy, chain: Chain | None) -> str | None:
        if step.by is None or step.by.text in ("default", "malformed"):
            return None if step.by is None else step.by.text
        direction = None if chain is None else chain.direction
        labels = self.policies.labels(policy.name.text, direction)
        if step.by.text not in labels:
            self._complain(errors.UnknownName("rule", step.by.text, step.by.span, tuple(labels.items())))
        return step.by.text

    # ---- the packet ----

    def _packet(self, step: t.Expect, hook: hooks.Hook) -> bytes | SocketCall | None:
        """The packet a sentence describes; None after a complaint."""
        parts = self.rules.parts(step.parts, hook)
        kinds = self.rules.kinds(step.kinds, hook)
        if kinds and parts.types is not None:
            kinds = self.traffic.with_types(kinds, parts.types.types)
        if len(kinds) != 1:
            if kinds:
                reason = f"stands for {len(kinds)} kinds of traffic"
                self._complain(
                    errors.NotOnePacket(f"`{step.kinds[0].span.text}`", step.kinds[0].span, reason)
                )
            return None
        kind = kinds[0]
        if kind.eth_types == ARP:
            return arp_frame()
        ends = {side: self._address(part) for side, part in parts.sides.items()}
        family = self._family(step, kind, [end for end in ends.values() if end is not None])
        if family is None:
            return None
        protocol = single(kind.protocols)
        packet = Packet(
            family=family,
            protocol=fields.IPPROTO_TCP if protocol is None else protocol,
            src=_value(ends.get("from")),
            dst=_value(ends.get("to")),
            icmp_type=None if kind.icmp_types is None else single(kind.icmp_types),
        )
        return self._with_ports(packet, kind, parts, hook)

    def _with_ports(
        self, packet: Packet, kind: Traffic, parts: Parts, hook: hooks.Hook
    ) -> bytes | SocketCall | None:
        concrete = Traffic(
            kind.eth_types, kind.protocols or IntervalSet.of(packet.protocol), kind.ports, kind.icmp_types
        )
        sport, dport, flags = packet.sport, packet.dport, packet.flags
        if kind.ports is not None:
            dport = kind.ports.ranges[0][0]
        for side, part in parts.sides.items():
            if part.ports is None:
                continue
            if not self.traffic.have_ports((concrete,), part.ports):
                return None
            port = single(self.traffic.ports(part.ports))
            if port is None:
                self._complain(errors.NotOnePacket("this", part.ports.span, "stands for more than one port"))
                return None
            sport, dport = (port, dport) if side == "from" else (sport, port)
        if parts.flags is not None:
            if parts.flags.mask is not None:
                self._complain(
                    errors.NotOnePacket("`flags`", parts.flags.span, "needs no mask: list the flags set")
                )
                return None
            test = self.rules.flags(parts.flags, (concrete,))
            if test is None:
                return None
            flags = test.value
        made = Packet(
            packet.family, packet.protocol, packet.src, packet.dst, sport, dport, flags, packet.icmp_type
        )
        return made.call() if hook.target == "cgroup" else made.frame()

    def _address(self, side: t.Side) -> tuple[int, int] | None:
        """(family, address) of one end, None when it has none or after a complaint."""
        if side.network is None:
            return None
        value = self.networks.value(side.network)
        if value is BROKEN:
            return None
        spoken = families(value)
        if isinstance(value, Prefixes) and len(spoken) == 1:
            family = min(spoken)
            address = single(value.v4 if family == 4 else value.v6)
            if address is not None:
                return family, address
        span = side.network.span
        self._complain(errors.NotOnePacket(f"`{span.text}`", span, "stands for more than one address"))
        return None

    def _family(self, step: t.Expect, kind: Traffic, ends: list[tuple[int, int]]) -> int | None:
        """The IP family that kind and addresses agree on, 4 when nothing says."""
        spoken = {family for family, _ in ends}
        if kind.eth_types is not None:
            possible = {family for number, family in FAMILY_OF.items() if number in kind.eth_types}
            spoken = spoken or ({4} if 4 in possible else possible)
            if not spoken <= possible:
                spoken |= possible
        if len(spoken) > 1:
            self._complain(errors.FamilyMismatch(step.span, step.action.span))
            return None
        return min(spoken) if spoken else 4

    def _complain(self, error: errors.Finding) -> None:
        self.sink.add(error.diagnostic())


def _value(end: tuple[int, int] | None) -> int | None:
    return None if end is None else end[1]
