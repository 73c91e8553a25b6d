"""E0302: repeated."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding, whole_lines


@dataclass(frozen=True)
class Repeated(Finding):
    """A part that may stand once stands twice.

    ## What it means

    Each rule has at most one `from`, `to`, `type`, `flags`, `count` and `log`; each policy has each
    attribute once, and one block for each direction.

    ## Why it matters

    It would be unclear whether both must hold, or either.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from 10.0.0.0/8 from 192.0.2.0/24
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from { 10.0.0.0/8, 192.0.2.0/24 }
        }
    """

    code = "E0302"
    slug = "repeated"
    what: str
    span: Span
    first: Span

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        same = self.span.text == self.first.text
        return self.make(
            f"{self.what} stands twice",
            (self.span, "again"),
            (self.first, "first here"),
            help=["leave one out" if same else "alternatives go into one set: `{ a, b }`"],
            fixes=[Fix(whole_lines(self.span), "", sure=True)] if same else [],
        )
