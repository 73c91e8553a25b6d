"""Diagnostics for people: what is wrong, where, underlined, and the line as it could be.

Knows layout and colours. Colour is never the only sign.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..diagnostics import Diagnostic, Fix, Label, Severity
from ..source import Source
from .screen import clean, columns

BOLD, RED, GREEN, YELLOW = "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m"
BLUE, CYAN, RESET = "\x1b[34m", "\x1b[36m", "\x1b[0m"
SEVERITY_COLOUR = {Severity.ERROR: RED, Severity.WARNING: YELLOW}
MAX_CHANGED_LINES = 6  # a fix that changes more is told in words only


def write(diagnostics: list[Diagnostic], colour: bool) -> str:
    """Messages with an empty line between them."""
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
        if len(d.fixes) == 1:  # of several, `help` says how to choose
            lines += self._changed(d.fixes[0], margin)
        return "\n".join(lines) + "\n"

    def _changed(self, fix: Fix, margin: int) -> Iterator[str]:
        """The lines that a fix changes, before and after."""
        line, old, new = _lines_of(fix)
        if max(len(old), len(new)) > MAX_CHANGED_LINES:
            return
        yield self.paint(f"{' ' * margin} |", BLUE)
        for sign, style, lines in (("-", RED, old), ("+", GREEN, new)):
            for number, text in enumerate(lines, line):
                yield f"{self.paint(f'{number:>{margin}} {sign}', style)} {clean(text)}".rstrip()

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


def _lines_of(fix: Fix) -> tuple[int, list[str], list[str]]:
    """Number of the first line that a fix changes, those lines as they are, and as they would be."""
    text, span = fix.span.source.text, fix.span
    start = text.rfind("\n", 0, span.start) + 1
    end = text.find("\n", span.end)
    end = len(text) if end < 0 else end
    old = text[start:end].split("\n")
    new = (text[start : span.start] + fix.replacement + text[span.end : end]).split("\n")
    line = span.line
    while old and new and old[0] == new[0]:
        del old[0], new[0]
        line += 1
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    return line, old, new
