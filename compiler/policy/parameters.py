"""Kinds of parameters of templates: which arguments fit each, and what stands for one that is not known yet.

An argument is read as a network where that is possible, since only the parameter tells what it is. Knows
shapes of the syntax tree; must never know a template or what a name stands for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..source import Span
from ..syntax import tree as t
from .substitute import Bound


@dataclass(frozen=True)
class Kind:
    """`convert`: the node that an argument is in a place of this kind, None when it is of another;
    `samples`: stand-ins, given a span, when a template is checked by itself."""

    convert: Callable[[t.Argument], Any]
    samples: tuple[Callable[[Span], Any], ...]


def _network(argument: t.Argument) -> t.Net | None:
    return None if isinstance(argument, t.Quantity | t.Text | t.PortRange | t.Ports) else argument


def _ports(argument: t.Argument) -> t.Ports | None:
    item = _port_item(argument)
    return item if item is None or isinstance(item, t.Ports) else t.Ports(item.span, (item,))


def _port_item(node: t.Argument) -> t.PortItem | None:
    match node:
        case t.Ports() | t.PortRange() | t.Name():
            return node
        case t.AnyAddress(span):
            return t.AnyPort(span)
        case t.NetSet(span, items):
            found = [_port_item(item) for item in items]
            return None if None in found else t.Ports(span, tuple(item for item in found if item is not None))
        case t.Sum(span, first, rest):
            start = _port_item(first)
            terms = [(sign, _port_item(term)) for sign, term in rest]
            whole = tuple((sign, term) for sign, term in terms if term is not None)
            return None if start is None or len(whole) < len(rest) else t.PortSum(span, start, whole)
    return None


def _service(argument: t.Argument) -> t.Name | None:
    return argument if isinstance(argument, t.Name) else None


def _interface(argument: t.Argument) -> t.Name | t.Text | None:
    return argument if isinstance(argument, t.Name | t.Text) else None


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
