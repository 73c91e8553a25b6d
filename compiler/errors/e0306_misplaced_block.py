"""E0306: misplaced-block."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class MisplacedBlock(Finding):
    """A direction is named where there is only one.

    ## What it means

    XDP sees arriving frames only, connect sees outgoing calls only. Rules stand there without a block.

    ## Why it matters

    An `egress` block at XDP would promise what the hook cannot do.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          ingress { drop udp }
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop udp
        }
    """

    code = "E0306"
    slug = "misplaced-block"
    direction: str
    span: Span
    hook: str

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"`{self.direction}` has no meaning at {self.hook}",
            (self.span, "this hook has one direction"),
            help=["write the rules without a block"],
        )
