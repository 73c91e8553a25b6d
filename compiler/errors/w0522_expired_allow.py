"""W0522: expired-allow."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding, whole_lines


@dataclass(frozen=True)
class ExpiredAllow(Finding):
    """A rule that lets traffic through has expired and is left out.

    ## What it means

    The day behind `expires` is before the day of `--now`. The policy is compiled as if the rule were not
    written; it has no counter either.

    ## Why it matters

    Whoever relied on the rule finds out now, from a message, and not from a connection that fails.

    ## Example

        policy out at connect for cgroup "/app" {
          default reject
          allow tcp to port 9443 expires 2026-03-31    # with --now 2026-04-01
        }

    ## Instead

        policy out at connect for cgroup "/app" {
          default reject
          allow tcp to port 9443
        }
    """

    code = "W0522"
    slug = "expired-allow"
    verdict: str
    day: str
    span: Span
    rule: Span
    ticket: str | None = None

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        ticket = f" (ticket {self.ticket})" if self.ticket else ""
        labels = [(self.span, "its last day is over")]
        if self.rule.source is not self.span.source or not self.rule.start <= self.span.start < self.rule.end:
            labels.append((self.rule, "used here"))
        return self.make(
            f"`{self.verdict} … expires {self.day}` has expired and is left out{ticket}",
            *labels,
            help=["delete it or give it a new date"],
            fixes=[Fix(whole_lines(self.rule), "")],
        )
