"""Whose turn it is: a sequence in which each backend comes as often as its weight says, evenly spread.

For `round-robin`, which goes through it, and `random`, which picks any entry. The k-th turn of a backend of
weight w is due at (k + 1/2) / w of the round.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import gcd


def turns(weights: Sequence[int]) -> list[int]:
    """Places of backends in the order of their turns, one round; empty when there is none."""
    if not weights:
        return []
    shared = gcd(*weights)
    due = [
        (Fraction(2 * k + 1, 2 * (weight // shared)), place)
        for place, weight in enumerate(weights)
        for k in range(weight // shared)
    ]
    return [place for _, place in sorted(due)]
