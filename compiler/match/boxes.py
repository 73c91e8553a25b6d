"""Matches as boxes: which lies inside which, what is left of one when others are taken away.

A missing field is one more value of its domain, 2**width, that no test accepts; a box that does not test a
field has the whole domain there. Fields are taken as independent, which can only make a box look larger than
it is. One promise of the decoder is used (`present`): where a field's guards hold it is there, unless it is
optional; one of the transport header asks for `l4.proto` besides, which a plan knows and a match does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

Box = Mapping[str, IntervalSet]


def present(name: str, box: Box) -> bool:
    """Whether every packet of the box surely has that field."""
    guards = _guards_of_the_sure(name)
    if guards is None:
        return False
    held = ((box.get(guard), allowed) for guard, allowed in guards)
    return all(values is not None and values.issubset(allowed) for values, allowed in held)


@lru_cache(maxsize=256)
def _guards_of_the_sure(name: str) -> tuple[tuple[str, IntervalSet], ...] | None:
    """The guards of a field that is there whenever they hold, None for any other field."""
    row = fields.lookup(name)
    if row.optional:
        return None
    return (*row.guards, (fields.L4_PROTO.name, fields.L4_PROTO.full)) if row.transport else row.guards


@lru_cache(maxsize=256)
def domain(name: str) -> IntervalSet:
    """Every value that a field can have, and the one that stands for "missing"."""
    row = fields.lookup(name)
    return row.possible | IntervalSet.of(1 << row.width_bits)


def inside(inner: Box, outer: Box) -> bool:
    """Whether every packet of `inner` is surely one of `outer`."""
    for name, allowed in outer.items():
        values = inner.get(name)
        if values is None:
            if not present(name, inner) or not fields.lookup(name).possible.issubset(allowed):
                return False
        elif values is not allowed and not values.issubset(allowed):
            return False
    return True


def without(box: Box, taken: Box) -> list[Box] | None:
    """`box` minus `taken` as disjoint boxes; None when the two have nothing in common."""
    common: dict[str, IntervalSet] = {}
    for name, values in taken.items():
        meet = box.get(name, domain(name)) & values
        if not meet:
            return None
        common[name] = meet
    parts: list[Box] = []
    rest = dict(box)
    for name, values in taken.items():
        outside = rest.get(name, domain(name)) - values
        if outside:
            part = {**rest, name: outside}
            if not _impossible(name, outside, part):
                parts.append(part)
        rest[name] = common[name]
    return parts


def weight(box: Box) -> int:
    """Ranges in a box: what an operation on it costs."""
    return sum(len(values) for values in box.values())


def _impossible(name: str, values: IntervalSet, box: Box) -> bool:
    """Whether the box asks for packets that lack a field which they all have."""
    missing = 1 << fields.lookup(name).width_bits
    return values.ranges[0][0] == missing and present(name, box)
