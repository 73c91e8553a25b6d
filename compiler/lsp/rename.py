"""Another name for something, wherever it is written.

Knows what a name may be and what it must not collide with; gives edits, and makes none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..policy import names
from ..source import Span
from ..syntax import tree as t
from .index import COUNTER, PARAMETER, RULE, Symbol, identity
from .view import View

NAME = re.compile(r"[A-Za-z_]\w*(?:-\w+)*")
RULE_NAME = re.compile(r"[A-Za-z_][\w-]*")


class Refused(Exception):  # noqa: N818 - reads as what happened
    """The new name cannot be; the message says why."""


def places(symbol: Symbol, views: Iterable[View]) -> list[Span]:
    """Every place that names a symbol, in the files of several policies, each once."""
    found: dict[tuple[str, int, int], Span] = {}
    for view in views:
        for occurrence in view.index.of(symbol):
            span = occurrence.span
            found.setdefault((identity(span.source), span.start, span.end), span)
    return [found[key] for key in sorted(found)]


def check(view: View, symbol: Symbol, new: str) -> None:
    """Raise Refused when a symbol cannot have a name."""
    if not (RULE_NAME if symbol.kind == RULE else NAME).fullmatch(new):
        raise Refused(f"`{new}` is no name: letters, digits, `_` and `-`, beginning with a letter or `_`")
    if symbol.kind == RULE and new in names.NO_RULE_NAMES:
        raise Refused(f"reports use `{new}` for packets that no rule decides")
    if symbol.kind not in (RULE, COUNTER) and (new in names.ENTITIES or new in names.PROTOCOLS):
        raise Refused(f"`{new}` is a word of the language")
    for other in _beside(view, symbol):
        if other.text == new and other.span != symbol.place:
            raise Refused(f"`{new}` is the name of something else, at {other.span.label}")


def _beside(view: View, symbol: Symbol) -> list[t.Name]:
    """Names that must stay different from a symbol's."""
    if symbol.kind == COUNTER and symbol.owner is not None:
        return [t.Name(c.place, c.name) for c in view.index.counters(symbol.owner)]
    if symbol.kind == RULE and isinstance(symbol.owner, t.Policy):
        return [t.Name(rule.place, rule.name) for rule in view.index.rules(symbol.owner)]
    if symbol.kind == PARAMETER and isinstance(symbol.owner, t.Template):
        return [parameter.name for parameter in symbol.owner.parameters]
    module = next((m for m in view.program.modules if m.source is symbol.place.source), view.module)
    return [
        d.name
        for d in module.decls
        if not isinstance(d, t.Test | t.NotYet | t.Tiers | t.Forward | t.Failsafe)
    ]
