"""Several sets as one list of boundaries, each with the tag of the keys from there on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from ..numeric import np
from ..sets import IntervalSet
from ..tables.arrays import flips
from .base import MAX_MEMBERS

if TYPE_CHECKING:
    from ..tables.arrays import Words

NARROW = 32  # bits of a key that numpy sorts


def merged(members: Sequence[IntervalSet]) -> tuple[Words, Words]:
    """(boundaries, tags), ascending, of keys of NARROW bits: what lies before the first boundary is in no
    member. ValueError for more than MAX_MEMBERS."""
    _check(members)
    found = [flips(values, NARROW) for values in members]
    bounds = np.concatenate([np.zeros(0, np.uint64), *found])
    bits = np.repeat(np.uint64(1) << np.arange(len(found), dtype=np.uint64), [len(one) for one in found])
    order = np.argsort(bounds, kind="stable")
    bounds, tags = bounds[order], np.bitwise_xor.accumulate(bits[order])
    last = np.append(bounds[1:] != bounds[:-1], True)[: len(bounds)]  # of boundaries in one place
    return bounds[last], tags[last]


def ranges(members: Sequence[IntervalSet]) -> list[tuple[int, int, int]]:
    """(low, high, tag), ascending, of keys of any width: what lies in no range is in no member. ValueError
    for more than MAX_MEMBERS."""
    _check(members)
    turns = [(bound, 1 << bit) for bit, values in enumerate(members) for bound in values.boundaries()]
    turns.sort(key=itemgetter(0))
    found, begin, tag = [], 0, 0
    for bound, here in groupby(turns, key=itemgetter(0)):
        if tag:
            found.append((begin, bound - 1, tag))
        begin = bound
        for _, bit in here:
            tag ^= bit
    return found


def _check(members: Sequence[IntervalSet]) -> None:
    if len(members) > MAX_MEMBERS:
        raise ValueError(f"a tag tells of {MAX_MEMBERS} sets, not of {len(members)}")
