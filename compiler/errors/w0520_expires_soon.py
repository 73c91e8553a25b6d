"""W0520: expires-soon."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class ExpiresSoon(Finding):
    """A rule's last day is near.

    ## What it means

    The rule holds through the day behind `expires`, and that is at most 14 days after the day of `--now`.

    ## Why it matters

    What the rule lets through stops working on the day after, whether or not somebody has thought of it.

    ## Example

        policy out at connect for cgroup "/app" {
          default reject
          allow tcp to port 9443 expires 2026-03-31 ticket "NET-4711"    # with --now 2026-03-20
        }

    ## Instead

        policy out at connect for cgroup "/app" {
          default reject
          allow tcp to port 9443 ticket "NET-4711"
        }
    """

    code = "W0520"
    slug = "expires-soon"
    verdict: str
    day: str
    span: Span
    rule: Span
    ticket: str | None = None
    left: int = 0

    def diagnostic(self) -> Diagnostic:
        """The facts as a message. `left`: days after today, 0 when it is the last one."""
        when = f"in {self.left} day{'s' * (self.left != 1)}" if self.left else "today"
        ticket = f" (ticket {self.ticket})" if self.ticket else ""
        labels = [(self.span, "the last day")]
        if self.rule.source is not self.span.source or not self.rule.start <= self.span.start < self.rule.end:
            labels.append((self.rule, "used here"))
        return self.make(
            f"`{self.verdict} … expires {self.day}` ends {when}{ticket}",
            *labels,
            help=["renew it, or see that nobody needs it any more"],
        )
