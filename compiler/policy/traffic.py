"""Ports, services and protocols of the tree to kinds of traffic of the model.

Knows protocols and what their headers hold; must never know addresses or hooks.
"""

from __future__ import annotations

from collections.abc import Iterable

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import EMPTY, IntervalSet

from .. import errors
from ..codes import ICMP_TYPES
from ..source import Span
from ..syntax import tree as t
from . import names as builtin
from .model import Traffic
from .resolve import Scope

MAX_PORT, MAX_BYTE = 65535, 255
ANY_PORT = IntervalSet.of((0, MAX_PORT))
NO_TRAFFIC: tuple[Traffic, ...] = ()  # stands for what was complained about


class TrafficTypes:
    """Evaluates ports, services and kinds of traffic, each declaration once."""

    def __init__(self, scope: Scope) -> None:
        self.scope, self.sink = scope, scope.sink
        self._ports: dict[int, IntervalSet] = {}  # by identity of the declaration, as below
        self._empty_names = 0  # uses of names whose declaration was complained about
        self._services: dict[int, tuple[Traffic, ...]] = {}

    # ---- ports ----

    def declared_ports(self, decl: t.PortsDecl) -> IntervalSet:
        """Value of a `ports` declaration; EMPTY after a complaint."""
        if id(decl) not in self._ports:
            value = self.scope.evaluate(decl, lambda: self.ports(decl.value), EMPTY)
            self._ports.setdefault(id(decl), value)
        return self._ports[id(decl)]

    def ports(self, ports: t.Ports) -> IntervalSet:
        """Value of a port set; EMPTY after a complaint. A set without ports is one."""
        before = self.sink.errors, self._empty_names
        values = self._union(ports.items)
        if not values and (self.sink.errors, self._empty_names) == before:
            self._complain(errors.NoPorts(ports.span))
        return values

    def _union(self, items: Iterable[t.PortItem]) -> IntervalSet:
        values = EMPTY
        for item in items:
            values |= self._item(item)
        return values

    def _item(self, item: t.PortItem) -> IntervalSet:
        match item:
            case t.PortRange():
                return self._range(item)
            case t.AnyPort():
                return ANY_PORT
            case t.Ports(_, items):
                return self._union(items)
            case t.PortSum():
                return self._sum(item)
            case t.Name():
                decl = self.scope.find(item, t.PortsDecl)
                values = EMPTY if decl is None else self.declared_ports(decl)
                self._empty_names += not values
                return values

    def _sum(self, item: t.PortSum) -> IntervalSet:
        values = self._item(item.first)
        for sign, term in item.rest:
            operand = self._item(term)
            if sign == "+":
                values |= operand
                continue
            written = isinstance(item.first, t.PortRange) and isinstance(term, t.PortRange)
            if written and operand and not values.overlaps(operand):
                self._complain(errors.NoPorts(item.span, term.span))
            values -= operand
        return values

    def _range(self, item: t.PortRange) -> IntervalSet:
        for number in (item.low, item.high):
            if number.value > MAX_PORT:
                self._complain(errors.OutOfRange(f"port {number.span.text}", number.span, 0, MAX_PORT))
                return EMPTY
        if item.low.value > item.high.value:
            self._complain(errors.ReversedRange(item.span, item.low.value, item.high.value))
            return EMPTY
        return IntervalSet.of((item.low.value, item.high.value))

    # ---- services and protocols ----

    def declared_service(self, decl: t.ServiceDecl) -> tuple[Traffic, ...]:
        """Value of a `service` declaration; NO_TRAFFIC after a complaint."""
        if id(decl) not in self._services:
            value = self.scope.evaluate(decl, lambda: self.kinds(decl.items), NO_TRAFFIC)
            self._services.setdefault(id(decl), value)
        return self._services[id(decl)]

    def kinds(self, kinds: Iterable[t.Kind]) -> tuple[Traffic, ...]:
        """All alternatives of a list; NO_TRAFFIC after a complaint about any of them."""
        found = [self._kind(kind) for kind in kinds]
        return NO_TRAFFIC if NO_TRAFFIC in found else tuple(x for alternatives in found for x in alternatives)

    def _kind(self, kind: t.Kind) -> tuple[Traffic, ...]:
        alternatives = self._what(kind.what)
        if alternatives and kind.ports is not None:
            alternatives = self.with_ports(alternatives, kind.ports, kind)
        if alternatives and kind.types is not None:
            alternatives = self.with_types(alternatives, kind.types)
        return alternatives

    def _what(self, what: t.Name | t.Number) -> tuple[Traffic, ...]:
        if isinstance(what, t.Number):
            if what.value > MAX_BYTE:
                self._complain(errors.OutOfRange(f"protocol {what.span.text}", what.span, 0, MAX_BYTE))
                return NO_TRAFFIC
            return (Traffic(protocols=IntervalSet.of(what.value)),)
        known = builtin.PROTOCOLS.get(what.text)
        if known is not None:
            return (known,)
        decl = self.scope.find(what, t.ServiceDecl)
        return NO_TRAFFIC if decl is None else self.declared_service(decl)

    def with_ports(
        self, alternatives: tuple[Traffic, ...], ports: t.Ports, kind: t.Kind
    ) -> tuple[Traffic, ...]:
        """Alternatives of a service line, narrowed to destination ports."""
        values = self.ports(ports)
        if not self.have_ports(alternatives, ports) or not values:
            return NO_TRAFFIC
        return tuple(
            Traffic(a.eth_types, a.protocols, values if a.ports is None else a.ports & values, a.icmp_types)
            for a in alternatives
        )

    def with_types(self, alternatives: tuple[Traffic, ...], types: t.Types) -> tuple[Traffic, ...]:
        """Alternatives narrowed to ICMP types; NO_TRAFFIC after a complaint."""
        narrowed: list[Traffic] = []
        for a in alternatives:
            number = single(a.protocols)
            if number not in ICMP_TYPES:
                self._complain(
                    errors.ConditionMismatch(
                        "`type`", types.span, "ICMP", "write `icmp type …` or `icmp6 type …`"
                    )
                )
                return NO_TRAFFIC
            values = EMPTY
            for item in types.items:
                value = self._type(item, number, [single(x.protocols) for x in alternatives])
                if value is None:
                    return NO_TRAFFIC
                values |= value
            if a.icmp_types is not None:
                values &= a.icmp_types
            if values:
                narrowed.append(Traffic(a.eth_types, a.protocols, a.ports, values))
        return tuple(narrowed)

    def _type(self, item: t.Name | t.Number, protocol: int, beside: list[int | None]) -> IntervalSet | None:
        """Value of one type; EMPTY where only another alternative knows its name."""
        if isinstance(item, t.Number):
            if item.value > MAX_BYTE:
                self._complain(errors.OutOfRange(f"ICMP type {item.span.text}", item.span, 0, MAX_BYTE))
                return None
            return IntervalSet.of(item.value)
        value = ICMP_TYPES[protocol].get(item.text)
        if value is not None:
            return IntervalSet.of(value)
        if any(item.text in ICMP_TYPES.get(p or 0, {}) for p in beside):
            return EMPTY
        kind = "icmp" if protocol == fields.IPPROTO_ICMP else "icmp6"
        known = tuple((name, None) for name in ICMP_TYPES[protocol])
        self._complain(errors.UnknownName(f"{kind} type", item.text, item.span, known))
        return None

    # ---- what a header holds ----

    def have_ports(
        self, alternatives: tuple[Traffic, ...], where: t.Ports, action: Span | None = None
    ) -> bool:
        """Whether every alternative has ports; complains when not. `action`: the word behind which a protocol
        could stand."""
        for a in alternatives:
            if a.protocols is None and (a.eth_types is None or a.eth_types.issubset(fields.IP)):
                self._complain(errors.PortsNeedProtocol(where.span, action))
                return False
            if a.protocols is None or not a.protocols.issubset(fields.WITH_PORTS):
                self._complain(
                    errors.ConditionMismatch("a port", where.span, "TCP, UDP or SCTP", "leave the port out")
                )
                return False
        return True

    def _complain(self, error: errors.Finding) -> None:
        self.sink.add(error.diagnostic())


def single(values: IntervalSet | None) -> int | None:
    """The only value of a set, None when it has more or fewer."""
    if values is None or values.count != 1:
        return None
    return values.ranges[0][0]
