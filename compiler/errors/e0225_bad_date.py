"""E0225: bad-date."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class BadDate(Finding):
    """A date that is not in the calendar.

    ## What it means

    A date is `YYYY-MM-DD`, of a day that exists.

    ## Why it matters

    Nobody can say when this rule ends.

    ## Example

        policy out at connect for cgroup "/app" {
          default reject
          allow tcp to port 9443 ticket "NET-4711" expires 2026-02-30
        }

    ## Instead

        policy out at connect for cgroup "/app" {
          default reject
          allow tcp to port 9443 ticket "NET-4711"
        }
    """

    code = "E0225"
    slug = "bad-date"
    span: Span

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(f"`{self.span.text}` is no day", (self.span, "not in the calendar"))
