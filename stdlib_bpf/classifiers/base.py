"""What a classifier is: of a list of boxes the first that holds a packet decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..tables.base import Cost, DataImage


@dataclass(frozen=True)
class Box:
    """`rule` decides a packet whose value of each field lies in that field's range, ends included. `code`:
    what generated code returns for it, 0 to 255."""

    rule: int
    ranges: tuple[tuple[int, int], ...]
    code: int = 0


@dataclass(frozen=True)
class Boxes:
    """Boxes over fields of `widths` in bits; `boxes` are in order of their rules. Ranges of a field of 128
    bits are prefixes."""

    widths: tuple[int, ...]
    boxes: tuple[Box, ...]


class Classifier(Protocol):
    """A module of this package, seen as a block. Keys are one unsigned integer in host order per field."""

    KIND: str

    def build(self, boxes: Boxes) -> DataImage:
        """The structure's memory."""
        ...

    def model(self, image: DataImage, widths: Sequence[int], key: Sequence[int]) -> tuple[int, int] | None:
        """(rule, code) of the first box that holds the key, read from the image as generated code reads it;
        None when no box does."""
        ...

    def steps(self, image: DataImage, widths: Sequence[int]) -> int:
        """About how many instructions the verifier follows through a lookup."""
        ...

    def cost(self, boxes: Boxes) -> Cost:
        """What a lookup costs, without building."""
        ...
