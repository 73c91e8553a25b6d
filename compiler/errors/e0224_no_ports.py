"""E0224: no-ports."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class NoPorts(Finding):
    """A set without ports, or a difference of numbers that takes nothing away.

    ## What it means

    With blanks around it `-` is "without", and without blanks `80-90` is a range.

    ## Why it matters

    No packet goes to a port of an empty set, and `80 - 90` is port 80 alone.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp to port 8000 - 8999
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp to port 8000-8999
        }
    """

    code = "E0224"
    slug = "no-ports"
    span: Span
    taken: Span | None = None

    def diagnostic(self) -> Diagnostic:
        """The facts as a message. `taken`: the part behind `-` that takes nothing away."""
        if self.taken is None:
            return self.make("these are no ports", (self.span, "no port is left"))
        fixes = []
        if self.span.text.replace(" ", "").replace("-", "", 1).isdigit():
            fixes = [Fix(self.span, self.span.text.replace(" ", ""))]
        return self.make(
            f"`- {self.taken.text}` takes nothing away",
            (self.span, "a difference, not a range"),
            help=["a range has no blanks: `8000-8999`"],
            fixes=fixes,
        )
