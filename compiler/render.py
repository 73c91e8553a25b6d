"""Diagnostics to text: for people, for grep, for machines.

Knows layout and colours; must never know a code's meaning. Returns text and prints nothing; the caller says
whether its output is a terminal. Colour is never the only sign.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from .diagnostics import Diagnostic, Label, Severity
from .source import Source, Span

BOLD, RED, YELLOW, BLUE, CYAN, RESET = "\x1b[1m", "\x1b[31m", "\x1b[33m", "\x1b[34m", "\x1b[36m", "\x1b[0m"
SEVERITY_COLOUR = {Severity.ERROR: RED, Severity.WARNING: YELLOW}
TAB_COLUMNS = 4


def wants_colour(is_terminal: bool, environment: Mapping[str, str]) -> bool:
    """Colour on a terminal, unless NO_COLOR is set and not empty (no-color.org) or the terminal is dumb."""
    return is_terminal and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def render(diagnostics: Iterable[Diagnostic], form: str = "human", *, colour: bool = False) -> str:
    """All diagnostics, sorted by place, in one of the forms `human`, `concise`, `json`; ends with a line end
    unless empty. KeyError for another form."""
    ordered = sorted(diagnostics, key=lambda d: d.sort_key)
    return FORMS[form](ordered, colour)


# ---- human ----


def _human(diagnostics: list[Diagnostic], colour: bool) -> str:
    return "\n".join(_Human(colour).message(d) for d in diagnostics)


class _Human:
    def __init__(self, colour: bool) -> None:
        self.colour = colour

    def paint(self, text: str, *styles: str) -> str:
        return f"{''.join(styles)}{text}{RESET}" if self.colour and text else text

    def message(self, d: Diagnostic) -> str:
        severity = SEVERITY_COLOUR[d.severity]
        head = self.paint(f"{d.severity.value}[{d.code}]", BOLD, severity)
        lines = [f"{head}{self.paint(f': {clean(d.message)}', BOLD)}"]
        margin = max((len(str(label.span.line)) for label in d.labels), default=1)
        for i, (source, labels) in enumerate(_by_source(d.labels)):
            place = labels[0].span
            arrow = "-->" if i == 0 else ":::"
            where = f"{clean(source.shown)}:{place.line}:{place.column}"
            lines.append(f"{' ' * margin}{self.paint(arrow, BLUE)} {where}")
            lines += self._excerpt(labels, d.labels[0], margin, severity)
        bar = " " * margin + self.paint(" = ", BLUE)
        lines += [f"{bar}{self.paint('note:', BOLD)} {clean(note)}" for note in d.notes]
        if d.witness is not None:
            lines.append(f"{bar}{self.paint('example:', BOLD)} {clean(d.witness)}")
        lines += [f"{bar}{self.paint('help:', BOLD, CYAN)} {clean(text)}" for text in d.help]
        return "\n".join(lines) + "\n"

    def _excerpt(self, labels: list[Label], primary: Label, margin: int, severity: str) -> list[str]:
        gutter = self.paint(f"{' ' * margin} |", BLUE)
        lines = [gutter]
        last = None
        for label in sorted(labels, key=lambda item: (item.span.line, item is not primary, item.span.start)):
            line = label.span.line
            text = label.span.source.line_text(line)
            if line != last:
                if last is not None and line > last + 1:
                    lines.append(self.paint(" " * margin + "...", BLUE))
                lines.append(f"{self.paint(f'{line:>{margin}} |', BLUE)} {clean(text)}")
            last = line
            before = columns(text[: label.span.column - 1])
            marked = text[label.span.column - 1 :][: max(label.span.end - label.span.start, 1)]
            sign, style = ("^", severity) if label is primary else ("-", BLUE)
            marks = sign * max(columns(marked), 1)
            note = f"{marks} {clean(label.text)}".rstrip()
            lines.append(f"{gutter} {' ' * before}{self.paint(note, BOLD, style)}")
        return lines


def _by_source(labels: tuple[Label, ...]) -> list[tuple[Source, list[Label]]]:
    """Labels by source, in the order in which sources first appear."""
    found: list[tuple[Source, list[Label]]] = []
    for label in labels:
        mine = next((ls for source, ls in found if source is label.span.source), None)
        if mine is None:
            found.append((label.span.source, [label]))
        else:
            mine.append(label)
    return found


def clean(text: str) -> str:
    """Text without anything a terminal would obey: tabs as blanks, control characters as pictures."""
    return "".join(
        " " * TAB_COLUMNS if c == "\t" else c if c.isprintable() else "\N{REPLACEMENT CHARACTER}"
        for c in text
    )


def columns(text: str) -> int:
    """Terminal columns that a cleaned text takes: wide characters take two, combining ones none."""
    width = 0
    for c in clean(text):
        wide = unicodedata.east_asian_width(c) in "WF"
        width += 0 if unicodedata.combining(c) else 2 if wide else 1
    return width


# ---- concise and json ----


def _concise(diagnostics: list[Diagnostic], colour: bool) -> str:
    return "".join(f"{_place(d)}{d.code} {clean(d.message)}\n" for d in diagnostics)


def _place(d: Diagnostic) -> str:
    if not d.labels:
        return ""
    span = d.labels[0].span
    return f"{clean(span.source.shown)}:{span.line}:{span.column}: "


def _json(diagnostics: list[Diagnostic], colour: bool) -> str:
    return json.dumps([as_dict(d) for d in diagnostics], indent=2, ensure_ascii=False) + "\n"


def as_dict(d: Diagnostic) -> dict[str, Any]:
    """A diagnostic as JSON values. Offsets and columns count characters; lines and columns from 1."""
    return {
        "code": d.code,
        "name": d.name,
        "severity": d.severity.value,
        "message": d.message,
        "labels": [_span_dict(label.span) | {"text": label.text} for label in d.labels],
        "notes": list(d.notes),
        "help": list(d.help),
        "example": d.witness,
        "fixes": [
            _span_dict(fix.span) | {"replacement": fix.replacement, "sure": fix.sure} for fix in d.fixes
        ],
    }


def _span_dict(span: Span) -> dict[str, Any]:
    end_line, end_column = span.source.position(span.end)
    return {
        "file": span.source.shown,
        "line": span.line,
        "column": span.column,
        "end_line": end_line,
        "end_column": end_column,
        "start": span.start,
        "end": span.end,
    }


FORMS = {"human": _human, "concise": _concise, "json": _json}
