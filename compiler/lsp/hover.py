"""What a name or word at a place is: sizes of networks, values of ports, costs of rules.

Knows the analyses that answer; gives Markdown. Must never know the protocol.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from itertools import islice

from lockgate.stdlib_bpf.sets import IntervalSet

from ..driver import Session
from ..match.coverage import covered_rules
from ..match.networks import WIDTH_BITS, cubes, live_sets
from ..plan.cost import rule_cost
from ..policy import names
from ..policy.model import Chain, Network, Traffic
from ..source import Source, Span
from ..syntax import tree as t
from . import describe
from .index import COUNTER, PARAMETER, RULE, Symbol, children, identity
from .view import View, sound

WORD = re.compile(r"[A-Za-z_]\w*(?:[.-]\w+)*")
SHOWN = 5  # prefixes, ranges, rules of a long list


def hover(view: View, source: Source, offset: int) -> tuple[str, Span] | None:
    """Text about what stands at an offset, and the piece that it is about."""
    found = view.index.at(source, offset)
    if found is not None:
        return "\n\n".join(_symbol(view, found.symbol)), found.span
    for match in WORD.finditer(source.text):
        if match.start() <= offset <= match.end():
            return _word(view, source, Span(source, match.start(), match.end()))
    return None


def _word(view: View, source: Source, span: Span) -> tuple[str, Span] | None:
    meaning = describe.word(span.text)
    if meaning is None or _in_comment(span):
        return None
    lines = [meaning]
    rule = _rule_that_begins(view, span)
    if rule is not None:
        lines += _rule(view, rule)
    return "\n\n".join(lines), span


def _in_comment(span: Span) -> bool:
    before = span.source.line_text(span.line)[: span.column - 1]
    return "#" in re.sub(r'"[^"]*"', "", before) or before.count('"') % 2 == 1


def _rule_that_begins(view: View, span: Span) -> Span | None:
    """The rule whose action a word is."""
    pending: list[object] = [d for module in view.program.modules for d in module.decls]
    while pending:
        node = pending.pop()
        if isinstance(node, t.Rule):
            if node.action.span == span:
                return node.span
        elif isinstance(node, t.Policy | t.Block | t.Template):
            pending += [child for _, child in children(node)]
    return None


def _symbol(view: View, symbol: Symbol) -> Iterator[str]:
    if symbol.kind == RULE:
        yield f"rule `{symbol.name}`"
        yield from _rule(view, symbol.place)
        return
    if symbol.kind == COUNTER:
        places = [o.span.line for o in view.index.of(symbol)]
        yield f"counter `{symbol.name}`, of {_many(len(places), 'rule')}: lines {_some(map(str, places))}"
        return
    if symbol.kind == PARAMETER:
        assert isinstance(symbol.owner, t.Template)
        kind = next(p.kind.text for p in symbol.owner.parameters if p.name.text == symbol.name)
        yield f"parameter `{symbol.name}` of `{symbol.owner.name.text}`: {kind}"
        return
    yield f"{symbol.kind} `{symbol.name}`"
    match symbol.decl:
        case t.NetworkDecl():
            value = sound(view.networks.declared(symbol.decl))
            yield from [] if value is None else _network(value)
        case t.PortsDecl():
            yield _ports(view.traffic.declared_ports(symbol.decl))
        case t.ServiceDecl():
            yield from (f"* {_traffic(kind)}" for kind in view.traffic.declared_service(symbol.decl))
        case t.InterfaceDecl():
            yield _some(f'"{device}"' for device in view.targets.declared(symbol.decl))
        case t.Template():
            yield "(" + ", ".join(f"{p.name.text}: {p.kind.text}" for p in symbol.decl.parameters) + ")"
        case t.Import():
            yield f'"{symbol.decl.path.text}"'
        case t.Policy(_, _, t.Scope() as scope):
            yield describe.word(scope.hook.text) or ""


# ---- values ----


def _network(value: Network) -> Iterator[str]:
    for live in sorted({(live.name, live.max_entries) for live in live_sets(value)}):
        yield f"dynamic set `{live[0]}`: up to {live[1]:,} prefixes of each family"
    for family, width in WIDTH_BITS.items():
        fixed = IntervalSet.from_ranges(
            pair for term in cubes(value, family) if not term.live for pair in term.values
        )
        if fixed:
            count = sum(1 for _ in fixed.prefixes(width))
            shown = [_prefix(family, *prefix) for prefix in islice(fixed.prefixes(width), SHOWN)]
            more = ", …" if count > SHOWN else ""
            yield (
                f"IPv{family}: {_size(fixed.count)} in {_many(count, 'prefix', 'prefixes')}: "
                f"{', '.join(shown)}{more}"
            )
    if not any(True for _ in live_sets(value)) and not any(cubes(value, f) for f in WIDTH_BITS):
        yield "no address"


def _size(count: int) -> str:
    if count > 10**12:
        return (
            f"2^{count.bit_length() - 1} addresses" if count & (count - 1) == 0 else f"{count:.1e} addresses"
        )
    return _many(count, "address", "addresses")


def _prefix(family: int, value: int, length: int) -> str:
    address = ipaddress.IPv4Address(value) if family == 4 else ipaddress.IPv6Address(value)
    return str(address) if length == WIDTH_BITS[family] else f"{address}/{length}"


def _ports(values: IntervalSet) -> str:
    return f"{_many(values.count, 'port')}: {_ranges(values)}"


def _ranges(values: IntervalSet) -> str:
    return _some(str(low) if low == high else f"{low}-{high}" for low, high in values)


def _traffic(kind: Traffic) -> str:
    """One kind of traffic, by the name of the protocol if it has one."""
    plain = Traffic(kind.eth_types, kind.protocols)
    name = next((name for name, value in names.PROTOCOLS.items() if value == plain), None)
    parts = [name or f"protocol {_ranges(kind.protocols) if kind.protocols else 'any'}"]
    parts += [f"port {_ranges(kind.ports)}"] if kind.ports is not None else []
    parts += [f"type {_ranges(kind.icmp_types)}"] if kind.icmp_types is not None else []
    return " ".join(parts)


# ---- rules ----


def _rule(view: View, place: Span) -> Iterator[str]:
    """What is known of the rule that holds a place: which come before it, what it costs, what takes its
    packets."""
    session = view.checked.session
    if session is None:
        yield "What it costs is known when the policy has no errors."
        return
    for chain in session.unit.chains:
        for number, rule in enumerate(chain.rules):
            inside = rule.span.start <= place.start < rule.span.end
            if inside and identity(rule.span.source) == identity(place.source):
                yield from _cost(session, chain, number)


def _cost(session: Session, chain: Chain, number: int) -> Iterator[str]:
    before = [f"`{rule.label}`" for rule in chain.rules[:number]]
    where = f"in `{chain.name}` " if chain.direction else ""
    yield f"rule {number + 1} of {len(chain.rules)} {where}" + (
        f"behind {_some(reversed(before))}" if before else "asked first"
    )
    covering = dict(covered_rules(session.match(chain))).get(number)
    if covering is not None:
        takers = _some(f"`{chain.rules[i].label}`" for i in covering)
        yield f"**Never decides**: {takers} {'takes' if len(covering) == 1 else 'take'} all of its packets."
        return
    price = rule_cost(session.plan(chain), number)
    if price.tests:
        looked = f", looks into {_some(f'`{name}`' for name in price.tables)}" if price.tables else ""
        yield f"{_many(price.tests, 'test')}, about {price.ns:.0f} ns for a packet that meets all{looked}"
    else:
        yield "no tests of its own"


def _many(count: int, one: str, several: str = "") -> str:
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def _some(items: Iterator[str] | map[str]) -> str:
    found = list(items)
    return ", ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
