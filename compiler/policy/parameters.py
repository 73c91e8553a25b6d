"""Kinds of parameters of templates: which arguments fit each, and what stands for one that is not known yet.

An argument is read as a network where that is possible, since only the parameter tells what it is. Knows
shapes of the syntax tree; must never know a template or what a name stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from ..source import Span
from ..syntax import tree as t
from .substitute import Bound

Many = TypeVar("Many")
Difference = TypeVar("Difference")


@dataclass(frozen=True)
class Kind:
    """`convert`: the node that an argument is in a place of this kind, None when it is of another;
    `samples`: stand-ins, given a span, when a template is checked by itself."""

    convert: Callable[[t.Argument], Any]
    samples: tuple[Callable[[Span], Any], ...]


def _network(argument: t.Argument) -> t.Net | None:
    if not isinstance(argument, t.Net) or isinstance(argument, t.Text | t.PortRange):
        return None
    return argument if all(isinstance(part, t.Net) for part in _inside(argument)) else None


def _inside(argument: t.Net) -> Iterator[t.Net]:
    """A network, and what it is made of; that may be of another kind, where a parameter stood."""
    yield argument
    match argument:
        case t.NetSet(_, items):
            pass
        case t.Sum(_, first, rest):
            items = first, *(term for _, term in rest)
        case t.Negation(_, operand):
            items = (operand,)
        case _:
            items = ()
    for item in items:
        yield from _inside(item)


def _ports(argument: t.Argument) -> t.Ports | None:
    item = _port_item(argument)
    return item if item is None or isinstance(item, t.Ports) else t.Ports(item.span, (item,))


def _port_item(node: t.Argument) -> t.PortItem | None:
    match node:
        case t.Ports() | t.PortRange() | t.Name():
            return node
        case t.AnyAddress(span):
            return t.AnyPort(span)
    return _composed(node, _port_item, t.Ports, t.PortSum)


def _service(argument: t.Argument) -> t.Name | None:
    return argument if isinstance(argument, t.Name) else None


def _interface(node: t.Argument) -> t.DeviceItem | None:
    if isinstance(node, t.Name | t.Text | t.Devices | t.DeviceSum):
        return node
    return _composed(node, _interface, t.Devices, t.DeviceSum)


def _composed(
    node: t.Argument,
    item: Callable[[t.Net], Any],
    together: Callable[[Span, tuple[Any, ...]], Many],
    difference: Callable[[Span, Any, tuple[tuple[str, Any], ...]], Difference],
) -> Many | Difference | None:
    """A set or sum of networks as one of another kind; None when some item of it is not."""
    match node:
        case t.NetSet(span, items):
            found = [item(each) for each in items]
            return None if None in found else together(span, tuple(found))
        case t.Sum(span, first, rest):
            start, terms = item(first), [(sign, item(term)) for sign, term in rest]
            wrong = start is None or None in [term for _, term in terms]
            return None if wrong else difference(span, start, tuple(terms))
    return None


def _rate(argument: t.Argument) -> t.Quantity | None:
    """A duration is a quantity, too; no parameter takes one."""
    if not isinstance(argument, t.Quantity):
        return None
    return argument if "/" in argument.text or argument.text.endswith("ps") else None


def _port_zero(span: Span) -> t.Ports:
    zero = t.Number(span, 0)
    return t.Ports(span, (t.PortRange(span, zero, zero),))


def _quantity(text: str) -> Callable[[Span], t.Quantity]:
    return lambda span: t.Quantity(span, text)


def _word(word: str) -> Callable[[Span], t.Name]:
    return lambda span: t.Name(span, word)


KINDS: dict[str, Kind] = {
    "network": Kind(_network, (t.AnyAddress,)),
    "ports": Kind(_ports, (lambda span: t.Ports(span, (t.AnyPort(span),)), _port_zero)),
    "service": Kind(_service, tuple(map(_word, ("tcp", "icmp", "icmp6", "ip", "arp")))),
    "interface": Kind(_interface, (lambda span: t.Text(span, "eth0"),)),
    "rate": Kind(_rate, tuple(map(_quantity, ("1/s", "1M/s", "1Gbps")))),
}
SAMPLES = max(len(kind.samples) for kind in KINDS.values())


def samples(decl: t.Template, choice: int) -> dict[str, Bound]:
    """A stand-in for each parameter, one of `SAMPLES` choices; its span is the parameter's own."""
    found = {}
    for parameter in decl.parameters:
        makers = KINDS[parameter.kind.text].samples
        node = makers[choice % len(makers)](parameter.name.span)
        found[parameter.name.text] = Bound(parameter.kind.text, node, parameter.name.span)
    return found
