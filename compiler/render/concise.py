"""Diagnostics one a line, `FILE:LINE:COLUMN: CODE message`: for editors, grep and pipes."""

from __future__ import annotations

from ..diagnostics import Diagnostic
from .screen import clean


def write(diagnostics: list[Diagnostic], colour: bool = False) -> str:
    """One line each."""
    return "".join(f"{_place(d)}{d.code} {clean(d.message)}\n" for d in diagnostics)


def _place(d: Diagnostic) -> str:
    if not d.labels:
        return ""
    span = d.labels[0].span
    return f"{clean(span.source.shown)}:{span.line}:{span.column}: "
