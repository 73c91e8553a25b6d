"""Fixes of diagnostics, applied to text until nothing more can be.

Knows diagnostics and files as bytes; must never know a code's meaning, nor write a file: it gives back what
the files would hold.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .diagnostics import Diagnostic, Fix
from .source import Source

MAX_ROUNDS = 20  # a fix may uncover another mistake; two that undo each other must end
BOM = "\ufeff"

ReadFile = Callable[[Path], bytes]
Diagnose = Callable[[ReadFile], list[Diagnostic]]


@dataclass
class Overlay:
    """Files as they would be, over files as they are. `original` and `mended`: path → text."""

    below: ReadFile = Path.read_bytes
    original: dict[Path, str] = field(default_factory=dict)
    mended: dict[Path, str] = field(default_factory=dict)

    def read(self, path: Path) -> bytes:
        """Contents of a file, mended if it was."""
        return self.mended[path].encode() if path in self.mended else self.below(path)

    def put(self, source: Source, text: str) -> None:
        """A file's new text."""
        assert source.path is not None
        before = self.read(source.path).decode()
        self.original.setdefault(source.path, before)
        self.mended[source.path] = BOM * before.startswith(BOM) + text

    @property
    def changed(self) -> list[Path]:
        """Files that differ, sorted."""
        return sorted(path for path, text in self.mended.items() if text != self.original[path])

    def diff(self) -> Iterator[str]:
        """The changes as a unified diff, line by line."""
        for path in self.changed:
            before, after = self.original[path], self.mended[path]
            lines = before.splitlines(True), after.splitlines(True)
            for line in difflib.unified_diff(*lines, str(path), str(path)):
                yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def mend(diagnose: Diagnose, overlay: Overlay, *, unsafe: bool) -> list[tuple[Diagnostic, Fix]]:
    """Apply fixes to `overlay` until nothing more can be done; those applied, in order. `diagnose` says what
    is wrong with files as the function it gets reads them."""
    applied: list[tuple[Diagnostic, Fix]] = []
    seen: set[tuple[tuple[Path, str], ...]] = set()
    for _ in range(MAX_ROUNDS):
        chosen = choose(diagnose(overlay.read), unsafe=unsafe)
        state = tuple(sorted(overlay.mended.items()))
        if not chosen or state in seen:
            break
        seen.add(state)
        for source in dict.fromkeys(fix.span.source for _, fix in chosen):
            overlay.put(source, edited(source.text, [f for _, f in chosen if f.span.source is source]))
        applied += chosen
    return applied


def choose(diagnostics: Iterable[Diagnostic], *, unsafe: bool) -> list[tuple[Diagnostic, Fix]]:
    """At most one fix for each diagnostic, sure ones first, and of several that touch the first one."""
    offered = [
        (d, fix)
        for d in diagnostics
        for fix in sorted(d.fixes, key=lambda f: not f.sure)[:1]
        if (fix.sure or unsafe) and fix.span.source.path is not None
    ]
    offered.sort(key=lambda pair: (pair[1].span.source.shown, pair[1].span.start, pair[1].span.end))
    chosen: list[tuple[Diagnostic, Fix]] = []
    for diagnostic, fix in offered:
        last = chosen[-1][1].span if chosen else None
        if last is None or last.source is not fix.span.source or last.end < fix.span.start:
            chosen.append((diagnostic, fix))
    return chosen


def edited(text: str, fixes: Iterable[Fix]) -> str:
    """Text with fixes applied that do not overlap."""
    for fix in sorted(fixes, key=lambda f: f.span.start, reverse=True):
        text = text[: fix.span.start] + fix.replacement + text[fix.span.end :]
    return text
