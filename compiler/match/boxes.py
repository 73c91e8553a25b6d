"""Matches as boxes: which lies inside which, what is left of one when others are taken away.

A missing field is one more value of its domain, 2**width, that no test accepts; a box that does not test a
field has the whole domain there. Fields are taken as independent, which can only make a box look larger than
it is. One promise of the decoder is used (`present`): a family's addresses and protocol are always there.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

Box = Mapping[str, IntervalSet]

_ALWAYS = {"ip.proto": fields.IP} | {
    f"ip{family}.{side}": values
    for family, values in ((4, fields.IP4), (6, fields.IP6))
    for side in ("src", "dst")
}


def present(name: str, box: Box) -> bool:
    """Whether every packet of the box surely has that field."""
    if name == "eth.type":
        return True
    needed = _ALWAYS.get(name.partition("@")[0])
    eth_types = box.get("eth.type")
    return needed is not None and eth_types is not None and eth_types.issubset(needed)


@lru_cache(maxsize=256)
def domain(name: str) -> IntervalSet:
    """Every value of a field, and the one that stands for "missing"."""
    return IntervalSet.of((0, 1 << fields.lookup(name).width_bits))


def inside(inner: Box, outer: Box) -> bool:
    """Whether every packet of `inner` is surely one of `outer`."""
    for name, allowed in outer.items():
        values = inner.get(name)
        if values is None:
            if not present(name, inner) or allowed != fields.lookup(name).full:
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
