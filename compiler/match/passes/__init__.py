"""Passes over the match IR, one idea a file. `PASSES` is the table, in the order they run."""

from __future__ import annotations

from ...pipeline import Pass
from ..ir import MatchProgram

PASSES: tuple[Pass[MatchProgram], ...] = ()
