"""`nft -j list ruleset`: tables, chains, rules, sets and maps by name. Source: libnftables-json(5).

Knows the objects; must never know what an expression means (`expressions.py`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ... import errors
from ...diagnostics import Sink
from ...source import Source, Span

WIDTH = 160  # of an object in a message
WANTED = "output of `nft -j list ruleset`"


@dataclass(frozen=True)
class Rule:
    """`expr`: its statements; `place`: where in the file it begins."""

    handle: int
    expr: list[dict[str, Any]]
    comment: str
    place: Span


@dataclass
class Chain:
    """A base chain has a hook. `policy`: what it does at its end; `devices`: those it is bound to."""

    name: str
    kind: str = ""
    hook: str = ""
    priority: int = 0
    policy: str = "accept"
    devices: tuple[str, ...] = ()
    rules: list[Rule] = field(default_factory=list)
    place: Span | None = None


@dataclass
class Table:
    """`sets`: named sets and maps as objects; `limits`: named ones."""

    family: str
    name: str
    chains: dict[str, Chain] = field(default_factory=dict)
    sets: dict[str, dict[str, Any]] = field(default_factory=dict)
    limits: dict[str, dict[str, Any]] = field(default_factory=dict)
    other: list[str] = field(default_factory=list)  # kinds of objects that say nothing by themselves

    @property
    def shown(self) -> str:
        """As nft calls it."""
        return f"{self.family} {self.name}"


class _Places:
    """Where objects stand. nft writes all of them on one line, so places are those in a text that has one on
    each line, shortened: line 1 is the first object."""

    def __init__(self, source: Source, objects: list[dict[str, Any]]) -> None:
        lines = [_short(one, WIDTH) for one in objects]
        self.source = Source(source.name, "\n".join(lines) + "\n", source.path)

    def of(self, number: int) -> Span:
        """The place of an object, from 0."""
        begin = self.source.line_starts[number]
        return Span(self.source, begin, begin + len(self.source.line_text(number + 1)))


def read(source: Source, sink: Sink) -> list[Table]:
    """The tables of a file; a finding for what is no such output."""
    whole = Span(source, 0, len(source.text.partition("\n")[0][:WIDTH]))
    try:
        objects = json.loads(source.text)["nftables"]
        assert isinstance(objects, list)
    except json.JSONDecodeError as error:
        at = min(error.pos, len(source.text))
        place = Span(source, at, min(at + 1, len(source.text))) if "\n" in source.text else whole
        sink.add(errors.NotThisFormat(place, WANTED, f"not JSON: {error.msg}").diagnostic())
        return []
    except (KeyError, TypeError, AssertionError, RecursionError):
        sink.add(errors.NotThisFormat(whole, WANTED, "it has no list `nftables`").diagnostic())
        return []
    tables: dict[tuple[str, str], Table] = {}
    places = _Places(source, objects)
    for number, one in enumerate(objects):
        try:
            _add(one, tables, places.of(number))
        except (KeyError, TypeError, AttributeError, StopIteration):
            place = places.of(number)
            sink.add(errors.NotThisFormat(place, WANTED, "this object lacks a part").diagnostic())
            return []
    if not tables:
        sink.add(errors.NotThisFormat(whole, WANTED, "it has no table").diagnostic())
    return list(tables.values())


def _short(value: object, length: int) -> str:
    text = json.dumps(value)
    return text if len(text) <= length else text[: length - 1] + "…"


def _add(one: dict[str, Any], tables: dict[tuple[str, str], Table], place: Span) -> None:
    kind, inner = next(iter(one.items()))
    if kind == "metainfo":
        return
    if kind == "table":
        tables[inner["family"], inner["name"]] = Table(inner["family"], inner["name"])
        return
    table = tables[inner["family"], inner["table"]]
    if kind == "chain":
        devices = inner.get("dev", ())
        table.chains[inner["name"]] = Chain(
            inner["name"],
            inner.get("type", ""),
            inner.get("hook", ""),
            inner.get("prio", 0),
            inner.get("policy", "accept"),
            (devices,) if isinstance(devices, str) else tuple(devices),
            place=place,
        )
    elif kind == "rule":
        rule = Rule(inner["handle"], inner["expr"], inner.get("comment", ""), place)
        table.chains[inner["chain"]].rules.append(rule)
    elif kind in ("set", "map"):
        table.sets[inner["name"]] = inner
    elif kind == "limit":
        table.limits[inner["name"]] = inner
    else:
        table.other.append(kind)
