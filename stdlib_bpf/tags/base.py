"""What a tag structure is: one lookup that says which of its members, which are sets, hold a key. The answer
is the key's tag: a word whose bit i is 1 when member i holds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..sets import IntervalSet
from ..tables.base import Cost, DataImage

TAG_BITS = 16
TAG_MASK = (1 << TAG_BITS) - 1
MAX_MEMBERS = TAG_BITS  # so that a tag lies beside the low bits of a boundary, and needs no second read


class Tagger(Protocol):
    """A module of this package, seen as a block. Keys are unsigned integers in host order."""

    KIND: str
    WIDTHS: frozenset[int]  # key widths in bits it can hold

    def build(self, members: Sequence[IntervalSet], width_bits: int) -> DataImage:
        """The structure's memory. ValueError for more than MAX_MEMBERS, or keys of another width."""
        ...

    def model(self, image: DataImage, key: int, width_bits: int) -> int:
        """The key's tag, read from the built image the way generated code reads it: the reference for
        `emit`."""
        ...

    def cost(self, ranges: int, width_bits: int) -> Cost:
        """What a lookup costs where the members have that many ranges together, without building."""
        ...
