"""Diagnostics as workflow commands, which GitHub shows beside the changed lines of a pull request.

Source: "Workflow commands for GitHub Actions", docs.github.com: `::error file=…,line=…,title=…::message`;
columns count only where the annotation ends on the line it begins. What must be escaped, and how, is in the
runner's own reader: actions/runner, src/Runner.Common/ActionCommand.cs.
"""

from __future__ import annotations

from ..diagnostics import Diagnostic
from ..source import Span
from .screen import clean

_IN_DATA = (("%", "%25"), ("\r", "%0D"), ("\n", "%0A"))
_IN_PROPERTIES = (*_IN_DATA, (":", "%3A"), (",", "%2C"))


def write(diagnostics: list[Diagnostic], colour: bool = False) -> str:
    """One command a line."""
    return "".join(f"{_command(d)}\n" for d in diagnostics)


def _command(d: Diagnostic) -> str:
    properties = _place(d.labels[0].span) if d.labels else {}
    properties["title"] = f"{d.code} {d.name}"
    listed = ",".join(f"{name}={_escape(value, _IN_PROPERTIES)}" for name, value in properties.items())
    return f"::{d.severity.value} {listed}::{_escape(_message(d), _IN_DATA)}"


def _place(span: Span) -> dict[str, str]:
    end_line, end_column = span.source.position(span.end)
    place = {"file": clean(span.source.shown), "line": str(span.line), "endLine": str(end_line)}
    if end_line == span.line:
        place |= {"col": str(span.column), "endColumn": str(end_column)}
    return place


def _message(d: Diagnostic) -> str:
    label = f": {d.labels[0].text}" if d.labels and d.labels[0].text else ""
    witness = [f"example: {d.witness}"] if d.witness else []
    lines = [d.message + label, *d.notes, *witness, *(f"help: {text}" for text in d.help)]
    return "\n".join(clean(line) for line in lines)


def _escape(text: str, table: tuple[tuple[str, str], ...]) -> str:
    for sign, escaped in table:
        text = text.replace(sign, escaped)
    return text
