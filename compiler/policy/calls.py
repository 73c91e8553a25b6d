"""Tests of a `balance` to socket calls and the answers expected for them.

Knows how a sentence that describes one call is read (`expect`); must never know what a balancer answers
(`stdlib_bpf.balance.reference`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import replace

from lockgate.stdlib_bpf import hooks
from lockgate.stdlib_bpf.decode.sock_addr import SocketCall
from lockgate.stdlib_bpf.labels import HOST, WORKLOAD

from .. import errors
from ..syntax import tree as t
from . import model
from .actions import Place
from .cgroups import Cgroups
from .check import Policies
from .expect import Tests
from .model import Balancer
from .networks import Networks
from .resolve import Scope
from .selectors import exact_labels
from .traffic import TrafficTypes, single

HOOK = hooks.ALL["connect"]


class ServiceTests(Tests):
    """Checks test blocks of services."""

    def __init__(
        self,
        scope: Scope,
        networks: Networks,
        traffic: TrafficTypes,
        policies: Policies,
        balancers: Sequence[Balancer],
    ) -> None:
        super().__init__(scope, networks, traffic, policies)
        self.balancers = balancers

    def is_mine(self, test: t.Test) -> bool:
        """Whether a test is one of a service."""
        return test.policy is not None and isinstance(self.scope.lookup(test.policy), t.Balance)

    def service_test(self, test: t.Test) -> model.Test:
        """The test; without what was complained about."""
        assert test.policy is not None  # it is mine
        name = test.policy.text
        home = next((b for b in self.balancers if any(s.name == name for s in b.services)), None)
        calls: list[model.ExpectCall] = []
        claims: list[model.AssertCalls] = []
        self.parties: dict[str, model.Party] = {}
        for step in test.steps:
            match step:
                case t.NotYet(span, what):
                    self._complain(errors.NotYet(what, span))
                case t.Given():
                    self._party(step)
                case t.ExpectReply(span):
                    self._complain(errors.NotYet("`expect reply` in a test of a service", span))
                case t.Expect() if home is not None:
                    calls += [call for call in (self._call(step, name, home),) if call is not None]
                case t.Assert() if home is not None:
                    claims += [claim for claim in (self._claim(step, name, home),) if claim is not None]
        return model.Test(
            test.span, test.title.text, {}, (), parties=self.parties, calls=tuple(calls), claims=tuple(claims)
        )

    def _call(self, step: t.Expect, service: str, home: Balancer) -> model.ExpectCall | None:
        before = self.sink.errors
        self.rules.action(step.action, HOOK, decides=True)
        for word, part in (("by", step.by), ("into", step.into), ("with", step.how)):
            if part is not None:
                why = "a service has no rules"
                self._complain(errors.MisplacedOption(f"`{word}`", part.span, why, "leave it out"))
        place = Place(HOOK, "", home.targets, cgroups=Cgroups(home.cgroups, alone=True))
        who, step = self._caller(step)
        call = self._packet(step, place)
        backend = None if step.backend is None else self._backend(step.backend)
        if self.sink.errors > before or not isinstance(call, SocketCall):
            return None
        taking = frozenset(
            number
            for number, one in enumerate(home.selections)
            if who is not None and one.takes(who.kind, who.labels, who.namespace)
        )
        return model.ExpectCall(step.span, home.name, service, call, step.action.text, backend, taking)

    def _party(self, step: t.Given) -> None:
        """A caller by its labels."""
        if not isinstance(step.value, t.Selector):
            self._complain(errors.NotOnePacket(f"`{step.name.text}`", step.value.span, "names no caller"))
            return
        known = self.scope.lookup(step.name)
        if known is not None:
            self._complain(errors.DuplicateName(step.name.text, step.name.span, known.name.span))
        elif step.name.text in self.parties:
            self._complain(errors.Repeated(f"`given {step.name.text}`", step.span, step.name.span))
        elif (
            party := self._described(step.name.text, step.value, HOST if step.hosts else WORKLOAD)
        ) is not None:
            self.parties[step.name.text] = party

    def _caller(self, step: t.Expect) -> tuple[model.Party | None, t.Expect]:
        """Who makes the call, and the sentence without it."""
        who: model.Party | None
        for part in step.parts:
            match part:
                case t.Side(side="from", network=t.Name(_, name), ports=None) if name in self.parties:
                    who = self.parties[name]
                case t.Side(side="from", network=t.Selector() as node, ports=None):
                    who = self._described(node.span.text, node, WORKLOAD)
                case _:
                    continue
            return who, replace(step, parts=tuple(p for p in step.parts if p is not part))
        return None, step

    def _described(self, name: str, node: t.Selector, kind: str) -> model.Party | None:
        """An endpoint with exactly these labels; None after a complaint."""
        labels = exact_labels(node)
        if labels is None:
            reason = "does not say one value of each label: join `=` by commas"
            self._complain(errors.NotOnePacket(f"`{node.span.text}`", node.span, reason))
            return None
        return model.Party(name, kind, *labels, ())

    def _backend(self, item: t.Address) -> str | None:
        prefix = self.networks.prefix(item.span)
        if prefix is None:
            return None
        value = single(prefix.prefixes.v4 if prefix.family == 4 else prefix.prefixes.v6)
        if value is None:
            self._complain(errors.BadServiceAddress(item.span, "a network"))
            return None
        return str((ipaddress.IPv4Address if prefix.family == 4 else ipaddress.IPv6Address)(value))

    def _claim(self, step: t.Assert, service: str, home: Balancer) -> model.AssertCalls | None:
        if not self.rules.action(step.action, HOOK, decides=True):
            return None
        sentence = t.Rule(step.span, None, step.action, step.kinds, step.parts)
        place = Place(HOOK, "", home.targets, cgroups=Cgroups(home.cgroups))
        rule = self.rules.rule(sentence, place, effects=False)
        return None if rule is None else model.AssertCalls(step.span, home.name, service, rule)
