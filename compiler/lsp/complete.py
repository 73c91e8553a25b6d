"""What may be written at a place: words that the parser could take, names of the kind that fits.

Knows which unfinished word decides what a name stands for; must never know the protocol.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from lockgate.stdlib_bpf import fields, hooks

from .. import codes
from ..policy import names
from ..source import Source, Span
from ..syntax import grammars, words
from ..syntax import tree as t
from ..syntax.parse import Ahead, ahead
from . import describe
from .index import COUNTER, RULE
from .view import View

_PARTIAL = re.compile(r"[A-Za-z_][\w.-]*$")
_FIELD = "field"


@dataclass(frozen=True)
class Proposal:
    """A word that may stand there. `kind`: of a symbol, or "keyword" or "value"."""

    text: str
    kind: str
    detail: str = ""


@dataclass(frozen=True)
class _Place:
    view: View
    source: Source
    ahead: Ahead


def complete(view: View, source: Source, offset: int) -> tuple[Span, list[Proposal]]:
    """Proposals for the word that ends at an offset, and the piece that they replace. None inside a comment
    or a string."""
    line = source.text[source.text.rfind("\n", 0, offset) + 1 : offset]
    rest = re.sub(r'"[^"]*"', "", line)
    found = _PARTIAL.search(line)
    start = offset - (len(found.group()) if found else 0)
    if "#" in rest or '"' in rest:
        return Span(source, offset, offset), []
    place = _Place(view, source, ahead(Source(source.name, source.text[:start], source.path)))
    proposals = [*_names(place), *_keywords(place)]
    unique = {proposal.text: proposal for proposal in reversed(proposals)}
    return Span(source, start, offset), [unique[text] for text in dict.fromkeys(p.text for p in proposals)]


# ---- words ----


def _keywords(place: _Place) -> Iterator[Proposal]:
    table = {
        **grammars.keywords("policy"),
        **words.MANY_WORDS,
        "FLOW_STATE": tuple(describe.FLOWS),
    }
    allowed = _actions(place)
    for terminal in sorted(place.ahead.terminals):
        for word in table.get(terminal, ()):
            if terminal != "ACTION" or word in allowed:
                yield Proposal(word, "keyword", describe.KEYWORDS.get(word, ""))


def _actions(place: _Place) -> tuple[str, ...]:
    """Actions that the hook at hand has."""
    name = _hook(place)
    if name not in hooks.NAMED:
        return words.ACTIONS
    return (*hooks.ALL[name].verdicts, *hooks.ALL[name].passing)


def _hook(place: _Place) -> str | None:
    for value in place.ahead.behind:
        if value.kind in ("at_interface", "at_cgroup"):
            return value.text
    policy = _policy(place)
    return policy.scope.hook.text if policy and isinstance(policy.scope, t.Scope) else None


def _policy(place: _Place) -> t.Policy | None:
    """The policy that a test is of, or that a rule stands in."""
    for name, word in pairwise(place.ahead.behind):
        if word.kind in ("OF", "POLICY"):
            decl = place.view.scope.lookup(t.Name(Span(place.source, 0, 0), name.text))
            return decl if isinstance(decl, t.Policy) else None
    return None


# ---- names ----


def _names(place: _Place) -> Iterator[Proposal]:
    """Names of the kind that the nearest unfinished word asks for."""
    if not place.ahead.terminals & {"NAME", "STRING"}:
        return
    for value in place.ahead.behind:
        kind = _KINDS.get(value.kind)
        if kind is not None:
            if not (place.ahead.behind[0] is value and value.kind in _NEW_NAME):
                yield from kind(place)
            return


def _declared(wanted: type) -> Callable[[_Place], Iterator[Proposal]]:
    def find(place: _Place) -> Iterator[Proposal]:
        here = t.Name(Span(place.source, 0, 0), "")
        yield from _parameters(place, _KIND_OF[wanted])
        for text, span in place.view.scope.known(here, wanted):
            yield Proposal(text, _KIND_OF[wanted], span.source.line_text(span.line).strip())

    return find


def _parameters(place: _Place, kind: str) -> Iterator[Proposal]:
    """Parameters of a kind, of the template that a rule stands in."""
    for name, word in pairwise(place.ahead.behind):
        if word.kind == "TEMPLATE":
            decl = place.view.scope.lookup(t.Name(Span(place.source, 0, 0), name.text))
            parameters = decl.parameters if isinstance(decl, t.Template) else ()
            yield from (Proposal(p.name.text, "parameter") for p in parameters if p.kind.text == kind)


def _kinds(place: _Place) -> Iterator[Proposal]:
    yield from (Proposal(name, "value", describe.PROTOCOLS[name]) for name in names.PROTOCOLS)
    yield from _declared(t.ServiceDecl)(place)


def _types(place: _Place) -> Iterator[Proposal]:
    known = dict.fromkeys(name for types in codes.ICMP_TYPES.values() for name in types)
    yield from (Proposal(name, "value", describe.icmp_type(name) or "") for name in known)


def _values(table: dict[str, str]) -> Callable[[_Place], Iterator[Proposal]]:
    return lambda place: (Proposal(name, "value", text) for name, text in table.items())


def _fields(place: _Place) -> Iterator[Proposal]:
    hook = _hook(place)
    for row in fields.ALL:
        if hook is None or hook in row.hooks:
            yield Proposal(row.name, _FIELD, row.doc)


def _of_field(place: _Place) -> Iterator[Proposal]:
    """Values of the field that is compared."""
    behind = pairwise(place.ahead.behind)
    field = next((name.text for word, name in behind if word.kind in ("RELATION", "IN")), "")
    wanted = codes.declared_kind(field)
    for decl, kind in _KIND_OF.items():
        if kind == wanted:
            yield from _declared(decl)(place)
    yield from (Proposal(name, "value") for name in codes.NAMES.get(field, ()))


def _rules(place: _Place) -> Iterator[Proposal]:
    policy = _policy(place)
    found = [] if policy is None else place.view.index.rules(policy)
    yield from (
        Proposal(rule.name, RULE, rule.place.source.line_text(rule.place.line).strip()) for rule in found
    )
    yield Proposal("malformed", "value", "A packet that is malformed, before any rule.")
    yield Proposal("fragments", "value", "A fragment that is dropped before any rule.")


def _counters(place: _Place) -> Iterator[Proposal]:
    policy = _policy(place)
    found = [] if policy is None else place.view.index.counters(policy)
    yield from (Proposal(counter.name, COUNTER) for counter in found)


_KIND_OF: dict[type, str] = {
    t.NetworkDecl: "network",
    t.PortsDecl: "ports",
    t.ServiceDecl: "service",
    t.InterfaceDecl: "interface",
    t.Template: "template",
    t.Policy: "policy",
}
_FRAGMENTS = {
    "drop": "Fragments are dropped before any rule.",
    "first-only": "Later fragments have no ports: they fall to rules without.",
    "track": "Later fragments get the ports of the first one.",
}
_PER = {
    "source": "A bucket for each source address or prefix.",
    "destination": "A bucket for each destination address or prefix.",
    "flow": "A bucket for each pair of addresses and ports.",
}
_PARAMETERS = {kind: f"A parameter that stands for {kind}." for kind in ("network", "ports", "service")} | {
    "interface": "A parameter that stands for an interface."
}
# What a name stands for behind an unfinished word.
_KINDS: dict[str, Callable[[_Place], Iterator[Proposal]]] = {
    **dict.fromkeys(("FROM", "TO", "NETWORK", "GIVEN"), _declared(t.NetworkDecl)),
    **dict.fromkeys(("PORT", "PORTS", "VLAN"), _declared(t.PortsDecl)),
    **dict.fromkeys(("ON", "INTO", "INTERFACE"), _declared(t.InterfaceDecl)),
    **dict.fromkeys(("ACTION", "SERVICE"), _kinds),
    "TYPE": _types,
    "FLAGS": _values(describe.FLAGS),
    "AT": _values({name: hook.doc for name, hook in hooks.NAMED.items()}),
    "FRAGMENTS": _values(_FRAGMENTS),
    "PER": _values(_PER),
    "IF": _fields,
    **dict.fromkeys(("RELATION", "IN"), _of_field),
    "USE": _declared(t.Template),
    "OF": _declared(t.Policy),
    "BY": _rules,
    "COUNT": _counters,
    "TEMPLATE": _values(_PARAMETERS),
}
_NEW_NAME = frozenset({"NETWORK", "PORTS", "SERVICE", "INTERFACE", "TEMPLATE"})
