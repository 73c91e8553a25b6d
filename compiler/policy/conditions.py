"""`if` and `vlan` conditions: what was written to tests of fields.

Knows the field table, the names of values and what declared ones hold; must never know rules, beyond the
traffic that one speaks of. Negation is carried to the tests on the way, so the result has none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from lockgate.stdlib_bpf import fields, hooks, prefix_text
from lockgate.stdlib_bpf.fields import Field
from lockgate.stdlib_bpf.sets import EMPTY, IntervalSet
from lockgate.stdlib_bpf.state.cgroups import MAX_DEPTH, depth
from lockgate.stdlib_bpf.state.devices import is_pattern

from .. import errors
from ..codes import NAMES, PROTOCOLS, has_order, read_mac
from ..diagnostics import Sink
from ..source import Span
from ..syntax import tree as t
from . import alternatives, prefixes
from .actions import Place
from .model import AllOf, AnyOf, FieldTest, Traffic, Where
from .networks import BROKEN, Networks, bad_prefix
from .targets import Targets

UNREAD = re.compile(r"\s*(?:[=!<>]=?|in\s*\{?)?\s*")  # what may stand between a field and its missing value
MAX_ALTERNATIVES = 256  # conjunctions that one rule's conditions may become
ORDERED = frozenset({"<", "<=", ">", ">="})
EXPECTED = {
    "ip4": "an IPv4 address or network",
    "ip6": "an IPv6 address or network",
    "mac": "a MAC address",
    "device": "an interface's name in quotes",
    "cgroup": "a cgroup's path in quotes",
}
SEVERAL = frozenset({"ip4", "ip6", "device", "cgroup"})  # styles in which one value may stand for several
EVERY = {"cgroup": "every process is in `/`"}  # why a condition is settled, by style
SIDES = {"ip4.src": "from", "ip6.src": "from", "ip4.dst": "to", "ip6.dst": "to"}
FAMILIES = ((fields.IP4, "IPv4"), (fields.IP6, "IPv6"), (fields.IP, "IP"))

Tests = Mapping[str, IntervalSet]


class Unsound(Exception):  # noqa: N818 - control flow inside this module
    """The condition was complained about."""


@dataclass(frozen=True)
class Conditions:
    """Checks conditions at a place; complaints go to the sink."""

    sink: Sink
    place: Place
    targets: Targets
    networks: Networks

    @property
    def hook(self) -> hooks.Hook:
        """The hook."""
        return self.place.hook

    def check(self, parts: Sequence[t.Where], kinds: Sequence[Tests]) -> Where | None:
        """All conditions of a rule as one. `kinds`: what each alternative of the rule's traffic requires.
        None after a complaint."""
        try:
            found = tuple(self._condition(part.condition, True, kinds) for part in parts)
        except Unsound:
            return None
        whole = found[0] if len(found) == 1 else AllOf(found)
        span = parts[0].span.to(parts[-1].span)
        count = alternatives.count(whole)
        if count > MAX_ALTERNATIVES:
            self._complain(errors.WideCondition(span, count, MAX_ALTERNATIVES))
            return None
        terms = alternatives.conjunctions(whole)
        if not any(fields.guarded(kind, term) is not None for kind in kinds for term in terms):
            self._complain(errors.SettledCondition(span, False, "no packet of this rule satisfies all of it"))
            return None
        return whole

    def _condition(self, node: t.Condition, wanted: bool, kinds: Sequence[Tests]) -> Where:
        """The condition, or its opposite when it is not `wanted`."""
        match node:
            case t.Compare():
                return self._compare(node, wanted, kinds)
            case t.Inverse(_, operand):
                return self._condition(operand, not wanted, kinds)
            case t.AllOf(_, items) | t.AnyOf(_, items):
                found = [self._condition(item, wanted, kinds) for item in items]
                together = isinstance(node, t.AllOf) == wanted
                return _joined(found, together)

    def _compare(self, node: t.Compare, wanted: bool, kinds: Sequence[Tests]) -> FieldTest:
        row = self._field(node.field)
        if not any(fields.guarded(kind, {row.name: row.full}) for kind in kinds):
            raise self._complained(errors.ConditionMismatch(f"`{row.name}`", node.span, *needs(row)))
        values = self._related(row, node, wanted)
        never, always = not values & row.possible, row.possible.issubset(values) and not row.optional
        if never or always:
            low, high = row.possible.ranges[0]
            reason = (
                f"`{row.name}` is always {low} to {high}"
                if row.style == "int"
                else EVERY.get(row.style, "that is every value")
            )
            raise self._complained(errors.SettledCondition(node.span, always, reason))
        return FieldTest(row.name, values & row.possible)

    def _field(self, name: t.Name) -> Field:
        row = next((row for row in fields.ALL if row.name == name.text), None)
        if row is None:
            family = name.text.partition(".")[0]
            here = [f.name for f in fields.ALL if self.hook.name in f.hooks]
            known = tuple((n, None) for n in sorted(here, key=lambda n: n.partition(".")[0] != family))
            raise self._complained(errors.UnknownName("field", name.text, name.span, known))
        if self.hook.name not in row.hooks:
            raise self._complained(
                errors.NotAtHook(row.name, self.hook.name, name.span, tuple(sorted(row.hooks)))
            )
        return row

    def _related(self, row: Field, node: t.Compare, wanted: bool) -> IntervalSet:
        """The values that satisfy a comparison, or its opposite when it is not `wanted`."""
        wanted = wanted != (node.relation == "!=")
        values = self._compared(row, node, wanted)
        return values if wanted else values.complement(row.width_bits)

    def _compared(self, row: Field, node: t.Compare, wanted: bool) -> IntervalSet:
        """The values that a comparison speaks of. `wanted`: whether the field is to have one of them."""
        if node.relation == "":
            if row.width_bits != 1 and self._stopped_at(node.span):
                raise Unsound
            if row.width_bits != 1:
                raise self._meaningless(node, "is more than one bit", f"write `{row.name} == …`")
            return IntervalSet.of(1)
        found = [self._value(row, value, wanted) for value in node.values]
        if node.relation == "in":
            return reduce(IntervalSet.__or__, found, EMPTY)
        values = found[0]
        if node.relation in ORDERED:
            if not has_order(row):
                raise self._meaningless(node, "has no order", f"write `{row.name} in {{ … }}`")
            if values.count > 1:
                raise self._meaningless(node, "is compared with a range", f"write `{row.name} in {{ … }}`")
            return _ordered(node.relation, values.ranges[0][0], row)
        if values.count > 1 and row.style not in SEVERAL:
            raise self._meaningless(node, "is compared with a range", f"write `{row.name} in {{ … }}`")
        return values

    def _value(self, row: Field, value: t.Value, wanted: bool) -> IntervalSet:
        low = value.low
        if row.style in ("ip4", "ip6") and isinstance(low, t.Net) and not isinstance(low, t.Address | t.Text):
            return self._network(row, low, value.span)
        match low:
            case t.Number() as number if row.style in ("int", "hex"):
                return self._range(row, number, value.high or number, value.span)
            case t.Name(span, text) if row.name in NAMES:
                if text not in NAMES[row.name]:
                    known = tuple((name, None) for name in NAMES[row.name])
                    raise self._complained(errors.UnknownName(f"value of `{row.name}`", text, span, known))
                return IntervalSet.of(NAMES[row.name][text])
            case t.Address(span) if row.style == "mac":
                try:
                    return IntervalSet.of(read_mac(span.text))
                except ValueError:
                    pass
            case t.Text() | t.Name() | t.Devices() | t.DeviceSum() as device if row.style == "device":
                return self._devices(device)
            case t.Text() as cgroup if row.style == "cgroup":
                return self.place.cgroups.values(self._cgroup(cgroup), wanted)
            case t.Address(span) if row.style in ("ip4", "ip6"):
                return self._prefix(row, span)
        expected = EXPECTED.get(row.style, "a number")
        if row.name in NAMES:
            expected += f" or a name, such as `{min(NAMES[row.name])}`"
        raise self._complained(errors.WrongValue(row.name, value.span, expected))

    def _network(self, row: Field, net: t.Net, span: Span) -> IntervalSet:
        """The addresses of a network that are of the field's family."""
        value = self.networks.value(net)
        if value is BROKEN:
            raise Unsound
        found = self.networks.fixed(value)
        if found is None:
            side = SIDES.get(row.name)
            instead = f"write `{side} {span.text}`" if side else "only `from` and `to` can ask dynamic sets"
            expected = "a network without dynamic sets"
            raise self._complained(errors.WrongValue(row.name, span, expected, instead))
        addresses = found.v4 if row.style == "ip4" else found.v6
        if not addresses:
            family = "IPv4" if row.style == "ip4" else "IPv6"
            raise self._complained(errors.WrongValue(row.name, span, f"a network with {family} addresses"))
        return addresses

    def _devices(self, written: t.DeviceItem) -> IntervalSet:
        """A device, or those of a name, by their places."""
        before = self.sink.errors
        found = self.targets.devices((written,))
        for pattern in filter(is_pattern, found):
            reason = "an interface that is asked about is named in full"
            self._complain(errors.BadTarget("interface", pattern, written.span, reason))
        if namespaces := self.place.outside(found):
            self._complain(errors.ForeignDevice(written.span, namespaces))
        if self.sink.errors > before:
            raise Unsound
        return IntervalSet.of(*(self.place.devices.place(name.rpartition("/")[2]) for name in found))

    def _cgroup(self, written: t.Text) -> str:
        """The path of a cgroup."""
        (path,) = self.targets.cgroups((written,)) or ("",)
        if not path:
            raise Unsound
        if depth(path) > MAX_DEPTH:
            reason = f"one that is asked about lies at most {MAX_DEPTH} levels below the root"
            raise self._complained(errors.BadTarget("cgroup", path, written.span, reason))
        return path

    def _range(self, row: Field, low: t.Number, high: t.Number, span: Span) -> IntervalSet:
        for number in (low, high):
            if number.value >> row.width_bits:
                top = row.full.ranges[0][1]
                raise self._complained(
                    errors.OutOfRange(f"`{row.name}` {number.span.text}", number.span, 0, top)
                )
        if low.value > high.value:
            raise self._complained(errors.ReversedRange(span, low.value, high.value))
        return IntervalSet.of((low.value, high.value))

    def _prefix(self, row: Field, span: Span) -> IntervalSet:
        try:
            prefix = prefixes.parse(span.text)
        except prefix_text.BadPrefix as reason:
            raise self._complained(bad_prefix(span, reason)) from None
        if f"ip{prefix.family}" != row.style:
            raise self._complained(errors.WrongValue(row.name, span, EXPECTED[row.style]))
        return IntervalSet.of((prefix.low, prefix.high))

    def _stopped_at(self, span: Span) -> bool:
        """Whether reading stopped behind it: what was to come is not known, and was complained about."""
        stops = [d.labels[0].span for d in self.sink.diagnostics if d.code.startswith("E01") and d.labels]
        text = span.source.text
        return any(
            s.source is span.source and s.start >= span.end and UNREAD.fullmatch(text, span.end, s.start)
            for s in stops
        )

    def _meaningless(self, node: t.Compare, reason: str, instead: str) -> Unsound:
        return self._complained(errors.BadRelation(node.field.text, node.span, reason, instead))

    def _complained(self, error: errors.Finding) -> Unsound:
        self._complain(error)
        return Unsound()

    def _complain(self, error: errors.Finding) -> None:
        self.sink.add(error.diagnostic())


def needs(row: Field) -> tuple[str, str]:
    """What traffic a field is of, in words, and what to do."""
    guards = dict(row.guards)
    eth_types, protocols = guards["eth.type"], guards.get("ip.proto")
    words = [name for name, number in PROTOCOLS.items() if protocols is not None and number in protocols]
    if words:
        return " or ".join(words), f"write `{words[0]}` before it, or leave it out"
    family = next((name for values, name in FAMILIES if eth_types.issubset(values)), "ARP")
    return family, "leave it out"


def requirements(traffic: Traffic, eth_types: IntervalSet | None) -> dict[str, IntervalSet]:
    """What a kind of traffic requires. `eth_types`: those that the rule's addresses leave, None for all."""
    found = {"eth.type": traffic.eth_types, "ip.proto": traffic.protocols, "th.dport": traffic.ports}
    tests = {name: values for name, values in found.items() if values is not None}
    if eth_types is not None:
        tests["eth.type"] = tests.get("eth.type", eth_types) & eth_types
    return tests


def _joined(items: Sequence[Where], together: bool) -> Where:
    """All of the items, or any of them; tests of one field become one test."""
    by_field: dict[str, IntervalSet] = {}
    others: list[Where] = []
    for item in items:
        if isinstance(item, FieldTest):
            known = by_field.get(item.field, item.values)
            by_field[item.field] = known & item.values if together else known | item.values
        else:
            others.append(item)
    found = (*(FieldTest(field, values) for field, values in by_field.items()), *others)
    if len(found) == 1:
        return found[0]
    return AllOf(found) if together else AnyOf(found)


def _ordered(relation: str, value: int, row: Field) -> IntervalSet:
    top = row.full.ranges[0][1]
    low, high = {
        "<": (0, value - 1),
        "<=": (0, value),
        ">": (value + 1, top),
        ">=": (value, top),
    }[relation]
    return IntervalSet.of((low, high)) if low <= high else EMPTY
