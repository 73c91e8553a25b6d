"""E0220: bad-file-line."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding, shorten


@dataclass(frozen=True)
class BadFileLine(Finding):
    """A line of a prefix file is no prefix.

    ## What it means

    A prefix file has one address or prefix a line; `#` begins a comment; blank lines are allowed. The
    place shown is in that file.

    ## Why it matters

    A list with a line left out is a list with a hole.

    ## Example (shell)

        printf '10.0.0.0/8\\n10.0.0.0/99\\n' > list.txt
        echo 'network x = file "list.txt"' > p.gate
        lockgate check p.gate

    ## Instead

        network x = 10.0.0.0/8
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from x
        }
    """

    code = "E0220"
    slug = "bad-file-line"
    span: Span
    reason: str
    remedy: tuple[str, ...] = ()
    fixes: tuple[Fix, ...] = ()
    more: int = 0

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        notes = [f"{self.more} more lines of this file are wrong"] if self.more else []
        return self.make(
            f"`{shorten(self.span.text)}` {self.reason}",
            (self.span, "one prefix a line"),
            help=self.remedy,
            notes=notes,
            fixes=self.fixes,
        )
