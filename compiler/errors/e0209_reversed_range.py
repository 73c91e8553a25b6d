"""E0209: reversed-range."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class ReversedRange(Finding):
    """A range of ports begins above its end.

    ## What it means

    Ranges are written from the lower to the higher number, both included.

    ## Why it matters

    Such a range is empty, and an empty condition never matches.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop udp to port 2000-1000
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop udp to port 1000-2000
        }
    """

    code = "E0209"
    slug = "reversed-range"
    span: Span
    low: int
    high: int

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        swapped = f"{self.high}-{self.low}"
        return self.make(
            f"the range `{self.span.text}` is reversed",
            (self.span, "begins above its end"),
            help=[f"write `{swapped}`"],
            fixes=[Fix(self.span, swapped)],
        )
