"""Diagnostics to text: for people, for grep, for machines. One file a form, one row a form here.

Returns text and prints nothing; the caller says whether its output is a terminal. No form knows what a code
means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ..diagnostics import Diagnostic
from . import concise, github, human, records, sarif


@dataclass(frozen=True)
class Form:
    """`write` makes the text of diagnostics in order of place; `about` is what `--help` says; `always`: a
    document, written even when there is nothing to say."""

    write: Callable[[list[Diagnostic], bool], str]
    about: str
    always: bool = False


FORMS: dict[str, Form] = {
    "human": Form(human.write, "with the source underlined"),
    "concise": Form(concise.write, "one a line"),
    "json": Form(records.write, "one document", always=True),
    "sarif": Form(sarif.write, "a SARIF 2.1.0 log for code scanning", always=True),
    "github": Form(github.write, "annotations of GitHub workflows"),
}


def wants_colour(is_terminal: bool, environment: Mapping[str, str]) -> bool:
    """Colour on a terminal, unless NO_COLOR is set and not empty (no-color.org) or the terminal is dumb."""
    return is_terminal and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def render(diagnostics: Iterable[Diagnostic], form: str = "human", *, colour: bool = False) -> str:
    """All diagnostics, sorted by place, in a form of `FORMS`; ends with a line end unless empty. KeyError for
    another form."""
    ordered = sorted(diagnostics, key=lambda d: d.sort_key)
    return FORMS[form].write(ordered, colour)


__all__ = ["FORMS", "Form", "render", "wants_colour"]
