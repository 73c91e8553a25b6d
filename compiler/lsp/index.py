"""Where every name is declared and used, over all files of a policy.

Knows which places of the tree hold names and whose; must never know what a name is worth. Works on whatever
could be parsed: nothing here complains.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..codes import declared_kind
from ..policy.imports import Program
from ..policy.resolve import KINDS, Named, Scope
from ..source import Source, Span
from ..syntax import tree as t

RULE, COUNTER, PARAMETER = "rule", "counter", "parameter"

# Where a name stands for a declaration: class and field.
REFERENCES = frozenset(
    {
        (t.NetworkDecl, "value"),
        (t.InterfaceDecl, "items"),
        (t.NetSet, "items"),
        (t.Sum, "first"),
        (t.Sum, "rest"),
        (t.Negation, "operand"),
        (t.Ports, "items"),
        (t.PortSum, "first"),
        (t.PortSum, "rest"),
        (t.Devices, "items"),
        (t.DeviceSum, "first"),
        (t.DeviceSum, "rest"),
        (t.Kind, "what"),
        (t.Side, "network"),
        (t.Scope, "targets"),
        (t.Into, "devices"),
        (t.Expect, "into"),
        (t.Given, "name"),
        (t.Given, "value"),
        (t.Test, "policy"),
        (t.Use, "template"),
        (t.Use, "arguments"),
        (t.Limit, "rate"),
    }
)


@dataclass(frozen=True)
class Symbol:
    """Something with a name. `place`: the name where it is declared, or for a counter first used; `owner`:
    the policy or template it belongs to, if it is no declaration; `decl`: the declaration."""

    kind: str
    name: str
    place: Span
    owner: t.Policy | t.Template | None = field(default=None, compare=False, repr=False)
    decl: Named | None = field(default=None, compare=False, repr=False)

    @property
    def key(self) -> tuple[str, str, int]:
        """The same for one symbol in whatever policy it is met."""
        return self.kind, identity(self.place.source), self.place.start


@dataclass(frozen=True)
class Occurrence:
    """A place that names a symbol; of a dotted name, the part of it."""

    span: Span
    symbol: Symbol
    declares: bool = False


def identity(source: Source) -> str:
    """What tells files apart."""
    return os.path.realpath(source.path) if source.path else source.name


def children(node: Any) -> Iterator[tuple[str, Any]]:
    """The nodes right below a node of the tree, with the field they stand in."""
    for each in dataclasses.fields(node):
        pending = [getattr(node, each.name)]
        while pending:
            value = pending.pop()
            if isinstance(value, tuple):
                pending += reversed(value)
            elif dataclasses.is_dataclass(value) and not isinstance(value, Span | Source):
                yield each.name, value


class Index:
    """All occurrences of a program, by file."""

    def __init__(self, program: Program, scope: Scope) -> None:
        self.scope = scope
        self.occurrences: list[Occurrence] = []
        self._owners: dict[int, _Owner] = {}
        for module in program.modules:
            for decl in module.decls:
                if isinstance(decl, t.Policy | t.Template):
                    self._owners[id(decl)] = _Owner(decl)
        for module in program.modules:
            for decl in module.decls:
                self._declaration(decl)

    def at(self, source: Source, offset: int) -> Occurrence | None:
        """What is named at an offset, or right before it."""
        here = [o for o in self.occurrences if o.span.source is source]
        return next((o for o in here if o.span.start <= offset <= o.span.end), None)

    def of(self, symbol: Symbol) -> list[Occurrence]:
        """All occurrences of a symbol."""
        return [o for o in self.occurrences if o.symbol.key == symbol.key]

    def rules(self, policy: t.Policy) -> list[Symbol]:
        """The named rules of a policy, in order."""
        return list(self._owners[id(policy)].rules.values())

    def counters(self, owner: t.Policy | t.Template) -> list[Symbol]:
        """The counters of a policy, in order."""
        return list(self._owners[id(owner)].counters.values())

    def _declaration(self, decl: t.Decl) -> None:
        if isinstance(decl, Named):
            self._add(decl.name.span, _symbol(decl), declares=True)
        owner = self._owners.get(id(decl))
        if isinstance(decl, t.Test) and decl.policy is not None:
            tested = self.scope.lookup(decl.policy)
            owner = self._owners.get(id(tested))
        if owner is not None and not isinstance(decl, t.Test):
            for symbol in (*owner.rules.values(), *owner.parameters.values()):
                self._add(symbol.place, symbol, declares=True)
        self._walk(decl, owner)

    def _walk(self, node: Any, owner: _Owner | None) -> None:
        if isinstance(node, t.Compare) and declared_kind(node.field.text) is not None:
            for value in node.values:
                if isinstance(value.low, t.Name):
                    self._reference(value.low, owner)
        for where, child in children(node):
            if not isinstance(child, t.Name):
                self._walk(child, owner)
            elif (type(node), where) in REFERENCES:
                self._reference(child, owner)
            elif owner is None:
                continue
            elif isinstance(node, t.Count) and child.text in owner.counters:
                symbol = owner.counters[child.text]
                self._add(child.span, symbol, declares=symbol.place == child.span)
            elif isinstance(node, t.Expect) and where == "by":
                self._by(child, owner)

    def _by(self, name: t.Name, owner: _Owner) -> None:
        """A rule, or a rule of a template by the name of its use."""
        text = name.text
        while text and text not in owner.rules:
            text = text.rpartition(".")[0]
        if text:
            self._add(Span(name.span.source, name.span.start, name.span.start + len(text)), owner.rules[text])

    def _reference(self, name: t.Name, owner: _Owner | None) -> None:
        if owner is not None and (parameter := owner.parameters.get(name.text)) is not None:
            self._add(name.span, parameter)
            return
        through = self.scope.alias(name)
        start = name.span.start
        if through is not None:
            alias = name.text.partition(".")[0]
            self._add(Span(name.span.source, start, start + len(alias)), _symbol(through))
            start += len(alias) + 1
        decl = self.scope.lookup(name)
        if decl is not None:
            self._add(Span(name.span.source, start, name.span.end), _symbol(decl))

    def _add(self, span: Span, symbol: Symbol, declares: bool = False) -> None:
        self.occurrences.append(Occurrence(span, symbol, declares))


class _Owner:
    """What a policy or template has names for: rules, counters, parameters."""

    def __init__(self, decl: t.Policy | t.Template) -> None:
        self.rules: dict[str, Symbol] = {}
        self.counters: dict[str, Symbol] = {}
        parameters = decl.parameters if isinstance(decl, t.Template) else ()
        self.parameters = {p.name.text: Symbol(PARAMETER, p.name.text, p.name.span, decl) for p in parameters}
        pending: list[Any] = [decl]
        while pending:
            node = pending.pop(0)
            if isinstance(node, t.Rule | t.Use) and node.label is not None:
                self._first(self.rules, RULE, node.label, decl)
            if isinstance(node, t.Count):
                self._first(self.counters, COUNTER, node.name, decl)
            pending[:0] = [child for _, child in children(node)]

    @staticmethod
    def _first(found: dict[str, Symbol], kind: str, name: t.Name, owner: t.Policy | t.Template) -> None:
        found.setdefault(name.text, Symbol(kind, name.text, name.span, owner))


def _symbol(decl: Named) -> Symbol:
    return Symbol(KINDS[type(decl)], decl.name.text, decl.name.span, decl=decl)
