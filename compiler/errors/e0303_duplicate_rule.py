"""E0303: duplicate-rule."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class DuplicateRule(Finding):
    """Two rules of a policy have one name.

    ## What it means

    The name of a rule is its identity in counters, tests and reports.

    ## Why it matters

    A counter or a test that speaks of two rules speaks of neither.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          a: drop udp a: drop arp
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          a: drop udp b: drop arp
        }
    """

    code = "E0303"
    slug = "duplicate-rule"
    name: str
    span: Span
    first: Span

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"two rules are called `{self.name}`",
            (self.span, "called so again"),
            (self.first, "called so here"),
            help=["give one of them another name"],
            fixes=[Fix(self.span, f"{self.name}-2")],
        )
