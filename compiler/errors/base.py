"""What every finding is: a frozen record of facts with a code, and a docstring that is its manual page.

Knows diagnostics and spans; must never know a terminal, nor a type of any later stage.
"""

from __future__ import annotations

import difflib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..diagnostics import Diagnostic, Fix, Label, Severity
from ..source import Span

SECTIONS = ("What it means", "Why it matters", "Example", "Instead")

# Names to choose from for "did you mean": the name, and where it is declared unless the language has it.
Candidates = Sequence[tuple[str, Span | None]]


@dataclass(frozen=True)
class Finding(ABC):
    """`code` is stable and its first letter the severity (E or W); `slug` is the name in kebab-case."""

    code: ClassVar[str]
    slug: ClassVar[str]

    @abstractmethod
    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""

    def make(
        self,
        message: str,
        *labels: tuple[Span, str],
        notes: Iterable[str] = (),
        help: Iterable[str] = (),
        fixes: Iterable[Fix] = (),
        witness: str | None = None,
    ) -> Diagnostic:
        """A diagnostic of this code; the first label is the primary one."""
        return Diagnostic(
            code=self.code,
            name=self.slug,
            severity=Severity.ERROR if self.code.startswith("E") else Severity.WARNING,
            message=message,
            labels=tuple(Label(span, text) for span, text in labels),
            notes=tuple(notes),
            help=tuple(help),
            witness=witness,
            fixes=tuple(fixes),
        )


def manual_page(error: type[Finding]) -> str:
    """The page of an error class: its docstring, unindented."""
    return inspect.getdoc(error) or ""


def nearest(word: str, candidates: Candidates) -> tuple[str, Span | None] | None:
    """The candidate most like `word`, if any is like it; first one that differs only in what stands before
    the last dot."""
    names = [name for name, _ in candidates]
    tail = word.rpartition(".")[2]
    found = [
        n for n in names if "." in word + n and n.rpartition(".")[2] == tail
    ] or difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if not found:
        lowered = {name.lower(): name for name in reversed(names)}
        found = [lowered[word.lower()]] if word.lower() in lowered else []
    return next(((n, s) for n, s in candidates if found and n == found[0]), None)


def surely(word: str, name: str, candidates: Candidates) -> bool:
    """Whether `word` can only be `name` misspelt: three letters or more, one slip of the fingers (a letter
    wrong, missing, too much, or two exchanged), and no other candidate that is as near."""
    near = {other for other, _ in candidates if _one_slip(word.lower(), other.lower())}
    return len(name) >= 3 and near == {name}


def _one_slip(a: str, b: str) -> bool:
    if len(a) > len(b):
        a, b = b, a
    same = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    left, right = a[same:], b[same:]
    if len(a) < len(b):
        return left == right[1:]
    return left[1:] == right[1:] or (left[2:] == right[2:] and left[:2] == right[:2][::-1])


def whole_lines(span: Span) -> Span:
    """A span with the rest of its lines, when nothing but blanks stands beside it."""
    text = span.source.text
    start = text.rfind("\n", 0, span.start) + 1
    end = text.find("\n", span.end)
    end = len(text) if end < 0 else end + 1
    alone = not text[start : span.start].strip() and not text[span.end : end].strip()
    return Span(span.source, start, end) if alone else span


def shorten(text: str, length: int = 60) -> str:
    """Text short enough for a headline."""
    return text if len(text) <= length else text[: length - 1] + "…"
