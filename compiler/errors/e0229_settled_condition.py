"""E0229: settled-condition."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class SettledCondition(Finding):
    """A condition has the same answer for every packet.

    ## What it means

    The values asked for are all that the field can have, or none of them; or several conditions
    together exclude each other. A packet that is malformed is decided before any rule: so no rule sees a TCP
    header of less than 20 bytes.

    ## Why it matters

    What is always true says less than it seems to, and what is never true makes a rule that never matches.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp if tcp.header < 20
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp if tcp.header > 20
        }
    """

    code = "E0229"
    slug = "settled-condition"
    span: Span
    always: bool
    reason: str

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"this condition {'always' if self.always else 'never'} holds",
            (self.span, self.reason),
            help=["leave it out"] if self.always else (),
        )
