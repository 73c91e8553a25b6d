"""Network expressions to unions of (known addresses, in or out of these dynamic sets), one family at a time.

Knows set algebra; must never know rules. A term is a `Cube`: an address lies in it when it is one of the
values and its membership in each named dynamic set is as stated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lockgate.stdlib_bpf.sets import IntervalSet

from ..policy.model import Live, Minus, Network, Not, Prefixes, Selected, Union

FAMILIES = (4, 6)
SELECTED = "#"  # begins what stands for a selection of endpoints; no name of a dynamic set begins with it
WIDTH_BITS = {4: 32, 6: 128}
FULL = {family: IntervalSet.full(width) for family, width in WIDTH_BITS.items()}


@dataclass(frozen=True)
class Cube:
    """`values`: addresses, never empty; `live`: (dynamic set, or SELECTED and the number of a selection,
    member?) pairs sorted by name."""

    values: IntervalSet
    live: tuple[tuple[str, bool], ...] = ()


def families(network: Network) -> frozenset[int]:
    """The families a network speaks of: those in which `not` takes its complement."""
    match network:
        case Prefixes(v4, v6):
            return frozenset(family for family, part in ((4, v4), (6, v6)) if part)
        case Live() | Selected():
            return frozenset(FAMILIES)
        case Union(left, right):
            return families(left) | families(right)
        case Minus(left, _):
            return families(left)
        case Not(operand):
            return families(operand)


def live_sets(network: Network | None) -> Iterator[Live]:
    """The dynamic sets a network names, perhaps some of them more than once."""
    match network:
        case Live():
            yield network
        case Union(left, right) | Minus(left, right):
            yield from live_sets(left)
            yield from live_sets(right)
        case Not(operand):
            yield from live_sets(operand)


def cubes(network: Network, family: int) -> list[Cube]:
    """The network's addresses of that family as a union of cubes; empty when it has none."""
    return _simplify(_inside(network, family))


class Cubes:
    """`cubes`, each network once: a declared one is the same object in all rules that name it, and may hold a
    million prefixes."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[Network, list[Cube]]] = {}

    def of(self, network: Network, family: int) -> list[Cube]:
        """The same as `cubes`; equal answers about one network are one object."""
        key = (id(network), family)
        if key not in self._known:
            self._known[key] = (network, cubes(network, family))  # holding it keeps its id its own
        return self._known[key][1]


def _inside(network: Network, family: int) -> list[Cube]:
    match network:
        case Prefixes(v4, v6):
            values = v4 if family == 4 else v6
            return [Cube(values)] if values else []
        case Live(name, _):
            return [Cube(FULL[family], ((name, True),))]
        case Selected(number):
            return [Cube(FULL[family], ((f"{SELECTED}{number}", True),))]
        case Union(left, right):
            return _simplify([*_inside(left, family), *_inside(right, family)])
        case Minus(left, right):
            return _both(_inside(left, family), _outside(right, family))
        case Not(operand):
            return _outside(operand, family) if family in families(operand) else []


def _outside(network: Network, family: int) -> list[Cube]:
    match network:
        case Prefixes(v4, v6):
            values = (v4 if family == 4 else v6).complement(WIDTH_BITS[family])
            return [Cube(values)] if values else []
        case Live(name, _):
            return [Cube(FULL[family], ((name, False),))]
        case Selected(number):
            return [Cube(FULL[family], ((f"{SELECTED}{number}", False),))]
        case Union(left, right):
            return _both(_outside(left, family), _outside(right, family))
        case Minus(left, right):
            return _simplify([*_outside(left, family), *_inside(right, family)])
        case Not(operand):
            return _inside(operand, family) if family in families(operand) else [Cube(FULL[family])]


def _both(left: list[Cube], right: list[Cube]) -> list[Cube]:
    found = (_meet(a, b) for a in left for b in right)
    return _simplify(cube for cube in found if cube is not None)


def _meet(a: Cube, b: Cube) -> Cube | None:
    live = dict(a.live)
    for name, member in b.live:
        if live.setdefault(name, member) != member:
            return None
    values = a.values & b.values
    return Cube(values, tuple(sorted(live.items()))) if values else None


def _simplify(terms: Iterable[Cube]) -> list[Cube]:
    """Terms with the same dynamic part become one; a term inside another one goes."""
    by_live: dict[tuple[tuple[str, bool], ...], IntervalSet] = {}
    for term in terms:
        known = by_live.get(term.live)
        by_live[term.live] = term.values if known is None else known | term.values
    merged = [Cube(values, live) for live, values in by_live.items()]
    return [a for a in merged if not any(a is not b and _within(a, b) for b in merged)]


def _within(a: Cube, b: Cube) -> bool:
    """Whether b holds wherever a does; of two equal dynamic parts there is only one term."""
    return set(b.live) < set(a.live) and a.values.issubset(b.values)
