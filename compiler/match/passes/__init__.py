"""Passes over the match IR, one idea a file. `PASSES` is the table, in the order they run."""

from __future__ import annotations

from ...pipeline import Pass
from ..ir import MatchProgram
from .drop_covered import drop_covered
from .merge_neighbours import merge_neighbours

PASSES: tuple[Pass[MatchProgram], ...] = (
    merge_neighbours,
    drop_covered,
)
