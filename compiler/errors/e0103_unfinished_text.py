"""E0103: unfinished-text."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class UnfinishedText(Finding):
    """The file ends before a sentence or a block does.

    ## What it means

    A `}` or the rest of a declaration is missing. The second label shows the innermost brace that is
    still open.

    ## Why it matters

    A file that was cut while it was copied must not be taken for a shorter policy.

    ## Example

        policy edge at xdp on "eth0" {
          default   drop
          fragments first-only

    ## Instead

        policy edge at xdp on "eth0" {
          default   drop
          fragments first-only
        }
    """

    code = "E0103"
    slug = "unfinished-text"
    span: Span
    expected: str
    opener: Span | None = None

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        labels = [(self.span, f"expected {self.expected}")]
        if self.opener:
            labels.append((self.opener, "opened here"))
        closing = [Fix(Span(self.span.source, self.span.end, self.span.end), "\n}")] if self.opener else []
        return self.make("the file ends in the middle of a sentence", *labels, fixes=closing)
