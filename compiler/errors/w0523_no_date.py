"""W0523: no-date."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class NoDate(Finding):
    """Rules expire, and no date was given.

    ## What it means

    The compiler never reads a clock, so that one input gives one bundle. Without `--now YYYY-MM-DD` every
    rule with `expires` holds.

    ## Why it matters

    A rule that should have left stays, silently, as long as nobody says what day it is.

    ## Example

        policy out at connect for cgroup "/app" {
          default reject
          allow tcp to port 9443 expires 2026-03-31
        }

    ## Instead

        policy out at connect for cgroup "/app" {
          default reject
          allow tcp to port 9443 ticket "NET-4711"
        }
    """

    code = "W0523"
    slug = "no-date"
    span: Span

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            "no date is given, so no rule expires",
            (self.span, "holds whatever the day"),
            help=["say what day it is: `--now 2026-03-20`, in a script `--now $(date +%F)`"],
        )
