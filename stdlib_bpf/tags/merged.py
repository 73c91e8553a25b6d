"""Several sets as one list of boundaries, each with the tag of the keys from there on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..numeric import np
from ..sets import IntervalSet
from ..tables.arrays import flips
from .base import MAX_MEMBERS

if TYPE_CHECKING:
    from ..tables.arrays import Words


def merged(members: Sequence[IntervalSet], width_bits: int) -> tuple[Words, Words]:
    """(boundaries, tags), ascending, of keys of at most 63 bits: what lies before the first boundary is in no
    member. ValueError for more than MAX_MEMBERS."""
    if len(members) > MAX_MEMBERS:
        raise ValueError(f"a tag tells of {MAX_MEMBERS} sets, not of {len(members)}")
    found = [flips(values, width_bits) for values in members]
    bounds = np.concatenate([np.zeros(0, np.uint64), *found])
    bits = np.repeat(np.uint64(1) << np.arange(len(found), dtype=np.uint64), [len(one) for one in found])
    order = np.argsort(bounds, kind="stable")
    bounds, tags = bounds[order], np.bitwise_xor.accumulate(bits[order])
    last = np.append(bounds[1:] != bounds[:-1], True)[: len(bounds)]  # of boundaries in one place
    return bounds[last], tags[last]
