"""The declarations of a file as a tree: policies with their blocks and rules, tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..policy.resolve import KINDS
from ..source import Span
from ..syntax import tree as t
from .index import RULE


@dataclass(frozen=True)
class Entry:
    """`whole`: all of it; `name_span`: what to jump to."""

    name: str
    kind: str
    detail: str
    whole: Span
    name_span: Span
    inner: tuple[Entry, ...] = ()


def outline(module: t.Module) -> list[Entry]:
    """What a file declares, in order."""
    found = []
    for decl in module.decls:
        match decl:
            case t.Test(span, title):
                found.append(Entry(title.text, "test", "", span, title.span))
            case t.NotYet(span) | t.Failsafe(span) | t.Forward(span):
                first = Span(span.source, span.start, span.start + len(span.text.split()[0]))
                found.append(Entry(first.text, "other", "", span, first))
            case t.Tiers(span, names):
                found.append(Entry("tiers", "other", " > ".join(n.text for n in names), span, names[0].span))
            case _:
                inner = tuple(_items(decl.items)) if isinstance(decl, t.Policy | t.Template) else ()
                kind = KINDS[type(decl)]
                found.append(Entry(decl.name.text, kind, kind, decl.span, decl.name.span, inner))
    return found


def _items(items: Iterable[t.Statement | t.Block]) -> Iterator[Entry]:
    for item in items:
        match item:
            case t.Block(span, direction):
                inner = tuple(_items(item.items))
                yield Entry(direction.text, "block", "", span, direction.span, inner)
            case t.Rule(span, label, action):
                name = label or action
                yield Entry(name.text if label else span.text[:60], RULE, action.text, span, name.span)
            case t.Use(span, label, template):
                name = label or template
                yield Entry(name.text, RULE, f"use {template.text}", span, name.span)
