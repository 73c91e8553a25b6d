"""E0215: family-mismatch."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class FamilyMismatch(Finding):
    """A rule mixes IPv4 with IPv6 so that no packet can match.

    ## What it means

    An address condition of one family only matches packets of that family.

    ## Why it matters

    The rule would be accepted and would never decide anything.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from 10.0.0.0/8 to 2001:db8::/32
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from 10.0.0.0/8 to 192.0.2.0/24
        }
    """

    code = "E0215"
    slug = "family-mismatch"
    span: Span
    other: Span

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            "these parts leave no IP family in common",
            (self.span, "of one family"),
            (self.other, "of the other"),
            help=["a packet is IPv4 or IPv6, never both: write two rules"],
        )
