"""The IP families that a network speaks of: those in which `not` takes its complement.

Part of the reference meaning (`decide.py`); knows the shape of an expression, never its size.
"""

from __future__ import annotations

from .model import Live, Minus, Network, Not, Prefixes, Selected, Union


def families(network: Network) -> frozenset[int]:
    """A subset of {4, 6}; empty for an empty network."""
    match network:
        case Prefixes(v4, v6):
            return frozenset(family for family, part in ((4, v4), (6, v6)) if part)
        case Live() | Selected():
            return frozenset({4, 6})
        case Union(left, right):
            return families(left) | families(right)
        case Minus(left, _):
            return families(left)
        case Not(operand):
            return families(operand)
