"""E0604: which-direction."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class WhichDirection(Finding):
    """An expectation does not say which direction it is about.

    ## What it means

    A policy at tc with two blocks has two rule lists. An expectation is about one of them.

    ## Why it matters

    The same packet can get two verdicts.

    ## Example

        policy edge at tc on "eth0" {
          default allow
          ingress { drop udp }
          egress { drop arp }
        }
        test "udp" of edge { expect drop udp }

    ## Instead

        policy edge at tc on "eth0" {
          default allow
          ingress { drop udp }
          egress { drop arp }
        }
        test "udp" of edge { expect ingress drop udp }
    """

    code = "E0604"
    slug = "which-direction"
    span: Span
    directions: tuple[str, ...]

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        verb = "" if self.span.text in ("ingress", "egress") else self.span.text
        choices = " or ".join(f"`expect {d} …`" for d in self.directions)
        return self.make(
            "which of the policy's blocks is meant?",
            (
                self.span,
                "the policy has no such block"
                if self.span.text in ("ingress", "egress")
                else "say the direction",
            ),
            help=[f"write {choices}"],
            fixes=[Fix(self.span, f"{d} {verb}".strip()) for d in self.directions],
        )
