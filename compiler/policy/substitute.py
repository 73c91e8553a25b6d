"""A template's parameters replaced by arguments, in the syntax tree.

A name keeps the span of where it was written, and is looked up there: so an argument means what it means at
the use, and the rest of the body what it means in the template. Knows which places of the tree take which
kind; must never know what a name stands for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ..codes import declared_kind
from ..source import Span
from ..syntax import tree as t

# Places where a name may be a parameter's, and of which kind. An argument of another template may be any.
PLACES: dict[tuple[type, str], str] = {
    (t.Side, "network"): "network",
    (t.NetSet, "items"): "network",
    (t.Sum, "first"): "network",
    (t.Sum, "rest"): "network",
    (t.Negation, "operand"): "network",
    (t.Ports, "items"): "ports",
    (t.PortSum, "first"): "ports",
    (t.PortSum, "rest"): "ports",
    (t.Kind, "what"): "service",
    (t.Into, "devices"): "interface",
    (t.Devices, "items"): "interface",
    (t.DeviceSum, "first"): "interface",
    (t.DeviceSum, "rest"): "interface",
    (t.Limit, "rate"): "rate",
    (t.Use, "arguments"): "",
}


@dataclass(frozen=True)
class Bound:
    """What stands for a parameter: a node of its kind."""

    kind: str
    node: Any
    parameter: Span


Misfit = Callable[[t.Name, Bound, str], None]  # (name, what it is bound to, kind that the place takes)
Node = TypeVar("Node", t.Rule, t.Use, t.Rule | t.Use)


def substitute(node: Node, bound: Mapping[str, Bound], misfit: Misfit, seen: list[t.Name]) -> Node:
    """The node with every parameter replaced. `misfit` hears of those in places of another kind; `seen`
    gathers the names that stood for parameters."""
    made: Node = _Substitution(bound, misfit, seen).value(node, None)
    return made


@dataclass(frozen=True)
class _Substitution:
    bound: Mapping[str, Bound]
    misfit: Misfit
    seen: list[t.Name]

    def value(self, value: Any, kind: str | None) -> Any:
        """A node, or a tuple of nodes; `kind`: what its place takes, None where no parameter may stand."""
        if isinstance(value, tuple):
            items = tuple(self.value(item, kind) for item in value)
            return value if all(new is old for new, old in zip(items, value, strict=True)) else items
        if isinstance(value, t.Name):
            return value if kind is None else self._name(value, kind)
        if not dataclasses.is_dataclass(value) or isinstance(value, Span | type):
            return value
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        made = {n: self.value(v, self._takes(value, n, kind)) for n, v in fields.items()}
        return value if all(made[n] is v for n, v in fields.items()) else dataclasses.replace(value, **made)

    @staticmethod
    def _takes(node: Any, field: str, kind: str | None) -> str | None:
        """The kind that a field of a node takes. Inside an argument, of kind "", only the parameter that it
        is for tells which is right."""
        match node, field:
            case t.Compare(), "values":
                return declared_kind(node.field.text)
            case t.Value(), "low":
                return kind
        takes = PLACES.get((type(node), field))
        return kind if kind == "" and takes is not None else takes

    def _name(self, name: t.Name, kind: str) -> Any:
        bound = self.bound.get(name.text)
        if bound is None:
            return name
        self.seen.append(name)
        if kind not in ("", bound.kind):
            self.misfit(name, bound, kind)
        return bound.node
