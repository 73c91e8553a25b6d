"""A match that earlier ones cover together never decides: it goes."""

from __future__ import annotations

from dataclasses import replace

from ...pipeline import compiler_pass
from ..coverage import coverage
from ..ir import MatchProgram


@compiler_pass(after={"merge_neighbours": "merged matches are larger and fewer: more is covered, sooner"})
def drop_covered(program: MatchProgram) -> MatchProgram:
    """Remove matches that earlier ones cover together. Law: the first that holds decides, so what is covered
    never does."""
    kept = tuple(
        match for match, covering in zip(program.matches, coverage(program), strict=True) if covering is None
    )
    return program if len(kept) == len(program.matches) else replace(program, matches=kept)
