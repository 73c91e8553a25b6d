"""Sources and places in them.

Knows text, lines and columns; knows nothing of policies. Offsets count characters of the decoded text, lines
and columns count from 1.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path


@dataclass(frozen=True, eq=False)
class Source:
    """One input file: `name` relative to the policy's own directory, which is what goes into every output, so
    that the same files give the same bytes wherever they lie; `text` decoded as UTF-8; `path` as the user
    wrote it, for messages (None for text from memory)."""

    name: str
    text: str
    path: Path | None = field(default=None, repr=False)

    @property
    def shown(self) -> str:
        """What a message calls the file: the way the user called it."""
        return self.name if self.path is None else str(self.path)

    @cached_property
    def line_starts(self) -> tuple[int, ...]:
        """Offset of each line's first character."""
        lines = self.text.split("\n")[:-1]
        return tuple(accumulate(map(len, lines), lambda start, length: start + length + 1, initial=0))

    def position(self, offset: int) -> tuple[int, int]:
        """(line, column) of a character offset, both from 1."""
        line = bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1

    def line_text(self, line: int) -> str:
        """Text of a line (from 1) without its line end."""
        start = self.line_starts[line - 1]
        end = self.line_starts[line] if line < len(self.line_starts) else len(self.text)
        return self.text[start:end].rstrip("\r\n")


@dataclass(frozen=True)
class Span:
    """The half-open piece [start, end) of a source. Every node, rule and diagnostic carries one."""

    source: Source
    start: int
    end: int

    @property
    def line(self) -> int:
        """Line of the first character, from 1."""
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        """Column of the first character, from 1."""
        return self.source.position(self.start)[1]

    @property
    def text(self) -> str:
        """The user's own text."""
        return self.source.text[self.start : self.end]

    @property
    def label(self) -> str:
        """`FILE:LINE`, the name of an unnamed rule."""
        return f"{self.source.name}:{self.line}"

    def to(self, other: Span) -> Span:
        """The span from the start of this one to the end of `other` (same source)."""
        return Span(self.source, self.start, max(self.end, other.end))
