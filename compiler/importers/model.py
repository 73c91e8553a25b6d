"""What every importer of packet filters makes: rules over fields, each with the place that it came from.

A box is a conjunction: field name → the values that satisfy it, as in `stdlib_bpf/fields.py`; a field that is
not named may be anything, even missing. Knows fields and places; must never know a source language, nor how a
rule is spelt here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

from ..source import Span

Box = Mapping[str, IntervalSet]
ANYTHING: Box = {}


@dataclass(frozen=True)
class Limit:
    """A token bucket in our words: `rate` such as `10/m`, `burst` in tokens, `per` such as `source` or
    `source/24,56`, "" for one bucket."""

    rate: str
    burst: int | None = None
    per: str = ""


@dataclass(frozen=True)
class Action:
    """`word` is an action of the language; `answer`: what stands behind `with` of a rejection; `log`, and
    `label`, the rule's name ("" for none)."""

    word: str
    answer: str = ""
    log: bool = False
    label: str = ""
    limit: Limit | None = None


@dataclass(frozen=True)
class FlatRule:
    """One rule of the result. `origins`: where it comes from, the jumps that led there first; `comment`: the
    author's words about it; `lead`: comments on lines of their own before it."""

    box: Box
    action: Action
    origins: tuple[Span, ...] = ()
    comment: str = ""
    lead: tuple[str, ...] = ()


@dataclass(frozen=True)
class FlatPolicy:
    """A policy at one hook. `attributes`: lines such as `default drop` with their comment; `direction`: the
    block that the rules stand in; `family`: 4 or 6 where all its rules are of it, else 0; `head`: comments
    before it. `hosts`: it is for hosts, and `devices` is empty."""

    name: str
    devices: tuple[str, ...]
    direction: str
    attributes: tuple[tuple[str, str], ...]
    rules: tuple[FlatRule, ...]
    family: int = 0
    head: tuple[str, ...] = ()
    hosts: bool = False


@dataclass(frozen=True)
class Named:
    """Values that the source has a name for: `kind` "network" or "ports"; `by_field`: field style ("ip4",
    "ip6", "int") → values. `comment` says what it was."""

    name: str
    kind: str
    by_style: Mapping[str, IntervalSet]
    comment: str = ""


@dataclass
class Imported:
    """Everything that one command makes. `devices`: names that values of `meta.iif` stand for, from 1 on;
    `tiers`: of policies for hosts."""

    head: list[str] = field(default_factory=list)
    names: list[Named] = field(default_factory=list)
    policies: list[FlatPolicy] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    tiers: list[str] = field(default_factory=list)


def meet(a: Box, b: Box) -> Box | None:
    """What satisfies both; None when nothing can."""
    if not a:
        return b
    found = dict(a)
    for name, values in b.items():
        if name in found and found[name] is not values:
            values = found[name] & values
            if not values:
                return None
        found[name] = values
    return found


def full(name: str) -> IntervalSet:
    """Every value of a field."""
    return fields.lookup(name).full


def without(box: Box, taken: Box, base: Box, whole: bool) -> Box | None:
    """The packets of `box` that are not in `taken`, which lies inside it, if one box holds exactly those: the
    two differ in one field, and that one is never missing. None if they do not. `base`: what holds of every
    packet; `whole`: no packet is a fragment."""
    differ = [name for name, values in taken.items() if box.get(name) != values]
    if len(differ) != 1 or not _never_missing(differ[0], {**base, **box}, whole):
        return None
    name = differ[0]
    return {**box, name: box.get(name, full(name)) - taken[name]}


def _never_missing(name: str, box: Box, whole: bool) -> bool:
    """Whether every packet of a box has a field."""
    row = fields.lookup(name)
    if row.optional or (row.transport and not whole):
        return False
    return all(guard in box and box[guard].issubset(values) for guard, values in row.guards)
