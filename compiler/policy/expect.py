"""`test` blocks to packets and the answers expected for them.

Knows how a sentence that describes one packet is read; must never decide one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lockgate.stdlib_bpf import fields, hooks
from lockgate.stdlib_bpf.decode.frame import Frame, decode
from lockgate.stdlib_bpf.decode.sock_addr import SocketCall
from lockgate.stdlib_bpf.sets import IntervalSet

from .. import errors, frames
from ..diagnostics import Sink
from ..syntax import tree as t
from . import model
from . import names as builtin
from .actions import Place
from .check import Policies
from .conditions import requirements
from .families import families
from .model import AllOf, Chain, FieldTest, Prefixes, Traffic
from .networks import BROKEN, Networks
from .options import duration_ns
from .resolve import Scope
from .rules import ETH_TYPE_OF, Parts
from .traffic import TrafficTypes, single

MAX_REPEAT = 100_000


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
                case t.NotYet(span, what):
                    self._complain(errors.NotYet(what, span))
                case t.Assert() if mine:
                    found = self._assert(step, mine)
                    asserts += [found] if found is not None else []
                case t.After():
                    now_ns += duration_ns(step.duration.text)
                case t.Given():
                    self._given(step, given)
                case t.ExpectReply(span):
                    self._complain(errors.NotYet("`expect reply` without a policy for labels", span))
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
        place = Place(hook) if chain is None else Place.of(chain, one_packet=False)
        rule = self.rules.rule(sentence, place, effects=False)
        return None if chain is None or rule is None else model.Assert(step.span, chain.name, rule)

    def _expect(self, step: t.Expect, policy: t.Policy, chains: Sequence[Chain]) -> model.Expect | None:
        before = self.sink.errors
        hook = hooks.ALL[chains[0].hook]
        chain = self._chain(step, hook, chains)
        if step.backend is not None:
            why = "a policy sends calls to no backend"
            self._complain(errors.MisplacedOption("`backend`", step.span, why, "write a test of a `balance`"))
        self.rules.action(step.action, hook, decides=True)
        if step.repeat is not None:
            self.networks.in_range("`repeat`", step.repeat, 1, MAX_REPEAT)
        by = self._by(step, policy, chain)
        into = self._into(step)
        via = self._via(step, hook)
        self._answer(step, hook)
        packet = self._packet(step, Place(hook) if chain is None else Place.of(chain, one_packet=True))
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
            via=via,
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

    def _via(self, step: t.Expect, hook: hooks.Hook) -> str | None:
        """The proxy that a call is expected to go to."""
        if step.via is None:
            return None
        if step.action.text != "redirect" or not hook.proxies:
            why = f"`{step.action.text}` sends nothing to a proxy at {hook.name}"
            remedy = "expect `redirect` of a policy at connect"
            self._complain(errors.MisplacedOption("`via`", step.via.span, why, remedy))
            return None
        proxy = self.rules.actions.proxies.find(step.via)
        return None if proxy is None else proxy.name

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
        if step.by is None or step.by.text in builtin.NO_RULE_NAMES:
            return None if step.by is None else step.by.text
        direction = None if chain is None else chain.direction
        labels = self.policies.labels(policy.name.text, direction)
        if step.by.text not in labels:
            self._complain(errors.UnknownName("rule", step.by.text, step.by.span, tuple(labels.items())))
        return step.by.text

    # ---- the packet ----

    def _packet(self, step: t.Expect, place: Place) -> Frame | SocketCall | None:
        """The packet a sentence describes; None after a complaint."""
        before = len(self.sink.diagnostics)
        hook = place.hook
        parts = self.rules.parts(step.parts, hook)
        kind = self._kind(step, parts, hook)
        if kind is None:
            return None
        asked = self._where(parts, kind, place)
        ends = self._ends(parts, kind)
        self._name_family(step, kind, asked, [end for end in ends.values() if end is not None])
        for side, word in (("from", "src"), ("to", "dst")):
            if (end := ends.get(side)) is not None:
                asked[f"ip{end[0]}.{word}"] = end[1]
        self._transport(asked, kind, parts)
        if len(self.sink.diagnostics) > before:
            return None
        if hook.target == "cgroup":
            return frames.call(asked)
        return self._built(step, parts, asked)

    def _kind(self, step: t.Expect, parts: Parts, hook: hooks.Hook) -> Traffic | None:
        """The one kind of traffic of a sentence; None after a complaint."""
        kinds = self.rules.kinds(step.kinds, hook)
        if kinds and parts.types is not None:
            kinds = self.traffic.with_types(kinds, parts.types.types)
        if len(kinds) > 1:
            reason = f"stands for {len(kinds)} kinds of traffic"
            self._complain(errors.NotOnePacket(f"`{step.kinds[0].span.text}`", step.kinds[0].span, reason))
        return kinds[0] if len(kinds) == 1 else None

    def _where(self, parts: Parts, kind: Traffic, place: Place) -> dict[str, int]:
        """Fields that `if` and `vlan` name, each with its one value."""
        asked: dict[str, int] = {}
        if not parts.conditions:
            return asked
        where = self.rules.where(parts, (kind,), (), {}, place)
        pending = [] if where is None else [where]
        while pending:
            match pending.pop():
                case AllOf(items):
                    pending += items
                case FieldTest(field, values) if (value := single(values)) is not None:
                    asked[field] = value
                case _:
                    span = next(iter(parts.conditions.values())).span
                    reason = "does not say one value of each field: join `==` by `and`"
                    self._complain(errors.NotOnePacket("this", span, reason))
        return asked

    def _transport(self, asked: dict[str, int], kind: Traffic, parts: Parts) -> None:
        """Protocol, ports, flags and type of a sentence."""
        if kind.protocols is not None and (protocol := single(kind.protocols)) is not None:
            asked["ip.proto"] = protocol
        protocols = kind.protocols or IntervalSet.of(frames.implied_protocol(asked))
        concrete = Traffic(kind.eth_types, protocols, kind.ports, kind.icmp_types)
        if kind.ports is not None:
            asked["th.dport"] = kind.ports.ranges[0][0]
        if kind.icmp_types is not None and (number := single(kind.icmp_types)) is not None:
            asked["icmp.type" if asked["ip.proto"] == fields.IPPROTO_ICMP else "icmp6.type"] = number
        for side, part in parts.sides.items():
            if part.ports is None or not self.traffic.have_ports((concrete,), part.ports):
                continue
            port = single(self.traffic.ports(part.ports))
            if port is None:
                self._complain(errors.NotOnePacket("this", part.ports.span, "stands for more than one port"))
            else:
                asked["th.sport" if side == "from" else "th.dport"] = port
        if parts.flags is not None and parts.flags.mask is not None:
            reason = "needs no mask: list the flags set"
            self._complain(errors.NotOnePacket("`flags`", parts.flags.span, reason))
        elif parts.flags is not None and (flags := self.rules.flags(parts.flags, (concrete,))) is not None:
            asked["tcp.flags"] = flags.value

    def _built(self, step: t.Expect, parts: Parts, asked: dict[str, int]) -> Frame | None:
        """The frame, unless there is none like this."""
        frame = frames.build(asked)
        found = decode(frame)
        missed = frames.unmet(found, asked) if parts.conditions and isinstance(found, dict) else []
        if not missed:
            return frame
        span = next(iter(parts.conditions.values())).span
        self._complain(errors.NotOnePacket("this", span, f"describes no packet: `{missed[0]}` cannot be so"))
        return None

    def _ends(self, parts: Parts, kind: Traffic) -> dict[str, tuple[int, int] | None]:
        """(family, address) of the ends that a sentence names, by side."""
        return {side: self._address(part) for side, part in parts.sides.items()}

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

    def _name_family(
        self, step: t.Expect, kind: Traffic, asked: dict[str, int], ends: list[tuple[int, int]]
    ) -> None:
        """Ask for the EtherType that kind, conditions and addresses agree on; none where nothing says."""
        spoken = {ETH_TYPE_OF[family] for family, _ in ends}
        spoken |= {asked["eth.type"]} if "eth.type" in asked else set()
        conditions = {name: IntervalSet.of(value) for name, value in asked.items()}
        possible = (fields.guarded(requirements(kind, None), conditions) or {}).get("eth.type")
        if possible is not None and not spoken:
            spoken = {fields.ETH_P_IP if fields.ETH_P_IP in possible else possible.ranges[0][0]}
        if len(spoken) > 1 or (possible is not None and not all(e in possible for e in spoken)):
            self._complain(errors.FamilyMismatch(step.span, step.action.span))
        elif spoken:
            asked["eth.type"] = min(spoken)

    def _complain(self, error: errors.Finding) -> None:
        self.sink.add(error.diagnostic())
