"""E0710: not-on-target."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class NotOnTarget(Finding):
    """A policy says what the data plane that it is built for cannot do, or not exactly.

    ## What it means

    `lockgate targets` prints what each data plane can do. This one has no words for a part of the rule, or
    its words mean something else.

    ## Why it matters

    A rule that is left out, or that means nearly the same, lets packets through that the policy stops. So
    nothing is written.

    ## Example

        # with --target nftables
        policy edge at xdp on "eth0" {
          default   pass
          fragments track
          drop tcp to port 22
        }

    ## Instead

        # with --target nftables
        policy edge at xdp on "eth0" {
          default   pass
          fragments drop
          drop tcp to port 22
        }
    """

    code = "E0710"
    slug = "not-on-target"
    span: Span
    target: str
    what: str
    why: str
    instead: str

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"{self.target} cannot do what is said here: {self.what}",
            (self.span, self.why),
            help=[self.instead],
        )
