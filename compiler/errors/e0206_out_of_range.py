"""E0206: out-of-range."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class OutOfRange(Finding):
    """A number lies outside what its field can hold.

    ## What it means

    Ports go from 0 to 65535, protocols and ICMP types from 0 to 255, sizes from 1 to 16777216. The values of
    other fields are in the table of fields.

    ## Why it matters

    A number that is cut to fit would match other traffic.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp to port 70000
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp to port 7000
        }
    """

    code = "E0206"
    slug = "out-of-range"
    what: str
    span: Span
    low: int
    high: int

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(f"{self.what} is out of range", (self.span, f"must be {self.low} to {self.high}"))
