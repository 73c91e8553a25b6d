"""E0521: expired-deny."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class ExpiredDeny(Finding):
    """A rule that stops traffic has expired.

    ## What it means

    The day behind `expires` is before the day of `--now`, and the rule drops or rejects. It stays in force,
    and the policy is not compiled.

    ## Why it matters

    If such a rule left by itself, traffic would be let through that somebody wanted stopped, and nobody
    would notice.

    ## Example

        policy out at connect for cgroup "/app" {
          default allow
          reject tcp to port 9443 expires 2026-03-31    # with --now 2026-04-01
        }

    ## Instead

        policy out at connect for cgroup "/app" {
          default allow
          reject tcp to port 9443
        }
    """

    code = "E0521"
    slug = "expired-deny"
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
            f"`{self.verdict} … expires {self.day}` has expired{ticket}; "
            "a deny rule is not removed by itself",
            *labels,
            help=["delete it or give it a new date"],
        )
