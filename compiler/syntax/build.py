"""Parser output to syntax tree: one method for each rule of the grammar, named like it.

Knows the grammar's rules and the order of their children; must never judge what they say. Constructs of
later versions become `NotYet` here and nowhere else.
"""

from __future__ import annotations

from typing import Any

from lark import Token

from ..source import Source, Span
from . import tree as t
from .nodes import Node

# Grammar rules that this version does not compile → how messages name them.
NOT_YET = {
    "flow_state": "a condition on the flow's state",
}


def build(source: Source, root: Node, skipped: tuple[Span, ...]) -> t.Module:
    """The module that a parse gave."""
    return _Builder(source).module(root, skipped)


class _Builder:
    def __init__(self, source: Source) -> None:
        self.source = source

    def module(self, root: Node, skipped: tuple[Span, ...]) -> t.Module:
        return t.Module(self.source, tuple(self.node(c) for c in root.children), skipped)

    # ---- helpers ----

    def node(self, item: Any) -> Any:
        """A token becomes a leaf by its type, a tree goes to the method of its rule."""
        if isinstance(item, Token):
            return self.leaf(item)
        what = NOT_YET.get(item.data)
        if what is not None:
            return t.NotYet(self.span(item), what)
        return getattr(self, item.data)(item, *item.children)

    def leaf(self, token: Token) -> t.Name | t.Number | t.Text | t.Quantity:
        span = self.span(token)
        if token.type == "INT":
            return self.number(span)
        if token.type == "HEX":
            return t.Number(span, int(token, 16) if len(token) <= 40 else 10**30)
        if token.type in ("RATE", "DURATION", "DATE"):
            return t.Quantity(span, str(token))
        if token.type == "STRING":
            return t.Text(span, token[1:-1])
        if token.type == "RULE_NAME":
            return t.Name(Span(self.source, span.start, span.end - 1), token[:-1])
        return t.Name(span, str(token))

    def number(self, span: Span) -> t.Number:
        return t.Number(span, int(span.text) if span.end - span.start <= 30 else 10**30)

    def span(self, item: Any) -> Span:
        return Span(self.source, item.start_pos, item.end_pos)

    def optional(self, item: Any) -> Any:
        return None if item is None else self.node(item)

    def all(self, items: Any) -> tuple[Any, ...]:
        return tuple(self.node(item) for item in items if item is not None)

    def pairs(self, items: Any) -> tuple[tuple[str, Any], ...]:
        """Signs with the terms behind them."""
        return tuple((str(sign), self.node(term)) for sign, term in zip(items[::2], items[1::2], strict=True))

    def _not_yet(self, item: Any, what: str) -> t.NotYet:
        return t.NotYet(self.span(item), what)

    # ---- declarations ----

    def network(self, tree: Any, name: Any, value: Any) -> t.NetworkDecl:
        return t.NetworkDecl(self.span(tree), self.node(name), self.node(value))

    def ports(self, tree: Any, name: Any, value: Any) -> t.PortsDecl:
        return t.PortsDecl(self.span(tree), self.node(name), self._ports(value))

    def service(self, tree: Any, name: Any, *items: Any) -> t.ServiceDecl:
        return t.ServiceDecl(self.span(tree), self.node(name), self.all(items))

    def interface(self, tree: Any, name: Any, value: Any) -> t.InterfaceDecl:
        return t.InterfaceDecl(self.span(tree), self.node(name), self._devices(value))

    # ---- devices ----

    def _devices(self, item: Any) -> tuple[t.DeviceItem, ...]:
        node = self.node(item)
        return node.items if isinstance(node, t.Devices) else (node,)

    def devicesum(self, tree: Any, first: Any, *rest: Any) -> t.DeviceSum:
        return t.DeviceSum(self.span(tree), self.node(first), self.pairs(rest))

    def deviceset(self, tree: Any, *items: Any) -> t.Devices:
        return t.Devices(self.span(tree), self.all(items))

    # ---- networks ----

    def sum(self, tree: Any, first: Any, *rest: Any) -> t.Sum:
        return t.Sum(self.span(tree), self.node(first), self.pairs(rest))

    def address(self, tree: Any, token: Token) -> t.Address:
        return t.Address(self.span(token))

    def any(self, tree: Any) -> t.AnyAddress:
        return t.AnyAddress(self.span(tree))

    def netset(self, tree: Any, *items: Any) -> t.NetSet:
        return t.NetSet(self.span(tree), self.all(items))

    def file(self, tree: Any, path: Any, maximum: Any) -> t.File:
        return t.File(self.span(tree), self.node(path), self.optional(maximum))

    def dynamic(self, tree: Any, maximum: Any) -> t.Dynamic:
        return t.Dynamic(self.span(tree), self.optional(maximum))

    def negation(self, tree: Any, operand: Any) -> t.Negation:
        return t.Negation(self.span(tree), self.node(operand))

    def group(self, tree: Any, inner: Any) -> t.Net:
        node: t.Net = self.node(inner)
        return node

    # ---- ports and traffic ----

    def _ports(self, item: Any) -> t.Ports:
        node = self.node(item)
        return node if isinstance(node, t.Ports) else t.Ports(node.span, (node,))

    def _types(self, item: Any) -> t.Types:
        many = isinstance(item, Node) and item.data == "typeset"
        return t.Types(self.span(item), self.all(item.children if many else (item,)))

    def portrange(self, tree: Any, token: Token) -> t.PortRange:
        span = self.span(token)
        first, dash, _ = token.partition("-")
        low = self.number(Span(self.source, span.start, span.start + len(first)))
        high = self.number(Span(self.source, span.start + len(first) + 1, span.end)) if dash else low
        return t.PortRange(span, low, high)

    def portset(self, tree: Any, *items: Any) -> t.Ports:
        return t.Ports(self.span(tree), self.all(items))

    def portsum(self, tree: Any, first: Any, *rest: Any) -> t.PortSum:
        return t.PortSum(self.span(tree), self.node(first), self.pairs(rest))

    def allports(self, tree: Any) -> t.AnyPort:
        return t.AnyPort(self.span(tree))

    def traffic(self, tree: Any, name: Any, ports: Any, types: Any) -> t.Kind:
        return t.Kind(
            self.span(tree),
            self.node(name),
            None if ports is None else self._ports(ports),
            None if types is None else self._types(types),
        )

    def kind(self, tree: Any, what: Any) -> t.Kind:
        return t.Kind(self.span(tree), self.node(what))

    traffic_number = kind_number = kind

    # ---- endpoints ----

    def selector(self, tree: Any, *items: Any) -> t.Selector:
        labels, of_namespace = [], False
        for item in items:
            if isinstance(item, Token):
                of_namespace = item.type == "NAMESPACE"
            elif item is not None:
                labels.append(self._label(item, of_namespace))
        return t.Selector(self.span(tree), tuple(labels))

    def _label(self, tree: Any, of_namespace: bool) -> t.Label:
        key, *values = self.all(tree.children)
        return t.Label(self.span(tree), key, tuple(values), tree.data == "label_not", of_namespace)

    def for_labels(self, tree: Any, hosts: Any, selector: Any) -> t.EndpointScope:
        return t.EndpointScope(self.span(tree), hosts is not None, self.node(selector))

    def failsafe(self, tree: Any, selector: Any, *items: Any) -> t.Failsafe:
        return t.Failsafe(self.span(tree), self.node(selector), self.all(items))

    # ---- policies and rules ----

    def policy(self, tree: Any, name: Any, scope: Any, *items: Any) -> t.Policy:
        return t.Policy(self.span(tree), self.node(name), self.node(scope), self.all(items))

    def at_interface(self, tree: Any, hook: Any, targets: Any) -> t.Scope:
        return t.Scope(self.span(tree), self.node(hook), "interface", self._devices(targets))

    def at_cgroup(self, tree: Any, hook: Any, *targets: Any) -> t.Scope:
        return t.Scope(self.span(tree), self.node(hook), "cgroup", self.all(targets))

    def at_labels(self, tree: Any, hook: Any, selector: Any) -> t.Scope:
        return t.Scope(self.span(tree), self.node(hook), "labels", (), self.node(selector))

    def block(self, tree: Any, direction: Any, *items: Any) -> t.Block:
        return t.Block(self.span(tree), self.node(direction), self.all(items))

    def default(self, tree: Any, action: Any) -> t.Attribute:
        return t.Attribute(self.span(tree), "default", self.node(action))

    def attr_text(self, tree: Any, key: Any, value: Any) -> t.Attribute:
        return t.Attribute(self.span(tree), str(key), self.node(value))

    attr_word = attr_number = attr_text

    def rule(self, tree: Any, label: Any, action: Any, *rest: Any) -> t.Rule:
        kinds, parts = self._split(rest)
        return t.Rule(self.span(tree), self.optional(label), self.node(action), kinds, parts)

    def _split(self, items: Any) -> tuple[tuple[t.Kind, ...], tuple[t.Part, ...]]:
        nodes = self.all(items)
        kinds = tuple(n for n in nodes if isinstance(n, t.Kind))
        return kinds, tuple(n for n in nodes if not isinstance(n, t.Kind))

    def _side(self, tree: Any, items: Any) -> t.Side:
        network = ports = None
        for item in items:
            if isinstance(item, Node) and item.data == "port_part":
                ports = self._ports(item.children[0])
            elif item is not None:
                network = self.node(item)
        return t.Side(
            self.span(tree),
            tree.data,
            network,
            ports,
        )

    def to(self, tree: Any, *items: Any) -> t.Side:
        return self._side(tree, items)

    def type(self, tree: Any, types: Any) -> t.TypeTest:
        return t.TypeTest(self.span(tree), self._types(types))

    def flags(self, tree: Any, value: Any, mask: Any) -> t.FlagTest:
        return t.FlagTest(
            self.span(tree), self.all(value.children), None if mask is None else self.all(mask.children)
        )

    def flag(self, tree: Any, name: Any) -> t.Name:
        span = self.span(tree)
        return t.Name(span, span.text.replace(" ", ""))

    def vlan(self, tree: Any, *values: Any) -> t.Where:
        span = self.span(tree)
        word = t.Name(Span(self.source, span.start, span.start + len("vlan")), "vlan.id")
        return t.Where(span, "vlan", t.Compare(span, word, "in", self.all(values)))

    def where(self, tree: Any, condition: Any) -> t.Where:
        return t.Where(self.span(tree), "if", self.node(condition))

    def any_of(self, tree: Any, *items: Any) -> t.AnyOf:
        return t.AnyOf(self.span(tree), self.all(items))

    def all_of(self, tree: Any, *items: Any) -> t.AllOf:
        return t.AllOf(self.span(tree), self.all(items))

    def inverse(self, tree: Any, operand: Any) -> t.Inverse:
        return t.Inverse(self.span(tree), self.node(operand))

    def bare(self, tree: Any, field: Any) -> t.Compare:
        return t.Compare(self.span(tree), self.node(field), "", ())

    def relation(self, tree: Any, field: Any, relation: Any, value: Any) -> t.Compare:
        return t.Compare(self.span(tree), self.node(field), str(relation), (self.node(value),))

    def member(self, tree: Any, field: Any, *values: Any) -> t.Compare:
        return t.Compare(self.span(tree), self.node(field), "in", self.all(values))

    def value(self, tree: Any, low: Any, high: Any = None) -> t.Value:
        if low.type == "ADDRESS":
            return t.Value(self.span(tree), t.Address(self.span(low)))
        return t.Value(self.span(tree), self.node(low), self.optional(high))

    def count(self, tree: Any, name: Any) -> t.Count:
        return t.Count(self.span(tree), self.node(name))

    def log(self, tree: Any, sample: Any) -> t.Log:
        return t.Log(self.span(tree), self.optional(sample))

    def limit(self, tree: Any, rate: Any, burst: Any, per: Any) -> t.Limit:
        key, *lengths = (None,) if per is None else self.all(per.children)
        return t.Limit(self.span(tree), self.node(rate), self.optional(burst), key, tuple(lengths))

    def into(self, tree: Any, devices: Any, how: Any) -> t.Into:
        return t.Into(self.span(tree), self._devices(devices), self.optional(how))

    def mark(self, tree: Any, value: Any, mask: Any) -> t.Mark:
        return t.Mark(self.span(tree), self.node(value), self.optional(mask))

    def dscp(self, tree: Any, value: Any) -> t.Dscp:
        return t.Dscp(self.span(tree), self.node(value))

    def via(self, tree: Any, proxy: Any) -> t.Via:
        return t.Via(self.span(tree), self.node(proxy))

    def expires(self, tree: Any, date: Any) -> t.Expires:
        return t.Expires(self.span(tree), self.node(date))

    def ticket(self, tree: Any, text: Any) -> t.Ticket:
        return t.Ticket(self.span(tree), self.node(text))

    # ---- files and templates ----

    def tiers(self, tree: Any, *items: Any) -> t.Tiers:
        nodes = self.all(items)
        names = tuple(n for n in nodes if isinstance(n, t.Name))
        return t.Tiers(self.span(tree), names, tuple(n for n in nodes if not isinstance(n, t.Name)))

    def forward(self, tree: Any, mode: Any) -> t.Forward:
        return t.Forward(self.span(tree), self.node(mode))

    def template(self, tree: Any, name: Any, *items: Any) -> t.Template:
        nodes = self.all(items)
        parameters = tuple(n for n in nodes if isinstance(n, t.Parameter))
        rest = tuple(n for n in nodes if not isinstance(n, t.Parameter))
        return t.Template(self.span(tree), self.node(name), parameters, rest)

    def parameter(self, tree: Any, name: Any, kind: Any) -> t.Parameter:
        return t.Parameter(self.span(tree), self.node(name), self.node(kind))

    def use(self, tree: Any, label: Any, template: Any, *arguments: Any) -> t.Use:
        return t.Use(self.span(tree), self.optional(label), self.node(template), self.all(arguments))

    # ---- balancing ----

    def balance(self, tree: Any, name: Any, home: Any, *items: Any) -> t.Balance:
        paths = () if home is None else self.all(home.children)
        return t.Balance(self.span(tree), self.node(name), paths, self.all(items))

    def vip(self, tree: Any, *addresses: Any) -> t.Vip:
        return t.Vip(self.span(tree), tuple(t.Address(self.span(a)) for a in addresses))

    def front(self, tree: Any, protocol: Any, port: Any, target: Any) -> t.Front:
        return t.Front(self.span(tree), self.node(protocol), self.node(port), self.optional(target))

    def backends(self, tree: Any, *items: Any) -> t.Backends:
        return t.Backends(self.span(tree), self.all(items))

    def backend(self, tree: Any, address: Any, port: Any, *qualities: Any) -> t.Backend:
        weights = tuple(self.node(q.children[0]) for q in qualities if q.data == "weight")
        return t.Backend(
            self.span(tree),
            t.Address(self.span(address)),
            self.optional(port),
            weights,
            any(q.data == "draining" for q in qualities),
        )

    def spread(self, tree: Any, word: Any) -> t.Attribute:
        return t.Attribute(self.span(tree), tree.data, self.node(word))

    empty = spread

    def affinity(self, tree: Any, duration: Any) -> t.Affinity:
        return t.Affinity(self.span(tree), self.node(duration))

    def proxy(self, tree: Any, name: Any, port: Any, cgroup: Any) -> t.ProxyDecl:
        return t.ProxyDecl(self.span(tree), self.node(name), self.node(port), self.optional(cgroup))

    def exempt(self, tree: Any, *cgroups: Any) -> t.Exempt:
        return t.Exempt(self.span(tree), self.all(cgroups))

    # ---- tests ----

    def test(self, tree: Any, title: Any, policy: Any, *steps: Any) -> t.Test:
        return t.Test(self.span(tree), self.node(title), self.optional(policy), self.all(steps))

    def given(self, tree: Any, name: Any, hosts: Any, value: Any) -> t.Given:
        return t.Given(self.span(tree), self.node(name), self.node(value), hosts is not None)

    def expect(
        self, tree: Any, repeat: Any, direction: Any, outcome: Any, by: Any
    ) -> t.Expect | t.ExpectReply:
        if outcome.data == "outcome_reply":
            rest = self.all((repeat, direction, None if by is None else by.children[0]))
            return t.ExpectReply(self.span(tree), self.node(outcome.children[0]), rest)
        backend = via = into = how = None
        if outcome.data == "outcome_backend":
            address, *rest = outcome.children
            backend = t.Address(self.span(address))
            action = t.Name(self.span(outcome), "allow")
        else:
            first, via, into, how, *rest = outcome.children
            action = self.node(first)
        kinds, parts = self._split(rest)
        return t.Expect(
            self.span(tree),
            self.optional(direction),
            action,
            kinds,
            parts,
            None if by is None else self.node(by.children[0]),
            self.optional(into),
            self.optional(how),
            self.optional(repeat),
            backend,
            self.optional(via),
        )

    def after(self, tree: Any, duration: Any) -> t.After:
        return t.After(self.span(tree), self.node(duration))


# Rules whose names are words of Python.
def _import(self: _Builder, tree: Any, path: Any, name: Any) -> t.Import:
    return t.Import(self.span(tree), self.node(path), self.node(name))


def _with(self: _Builder, tree: Any, how: Any) -> t.With:
    return t.With(self.span(tree), self.node(how))


def _assert(self: _Builder, tree: Any, direction: Any, action: Any, *rest: Any) -> t.Assert:
    kinds, parts = self._split(rest)
    return t.Assert(self.span(tree), self.optional(direction), self.node(action), kinds, parts)


for _name, _method in (("from", _Builder.to), ("import", _import), ("with", _with), ("assert", _assert)):
    setattr(_Builder, _name, _method)
