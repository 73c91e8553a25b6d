"""E0334: not-balanced."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class NotBalanced(Finding):
    """A protocol that is not balanced at connect time.

    ## What it means

    The kernel asks about the destination of TCP and UDP sockets only when they connect or send.

    ## Why it matters

    Calls of other protocols would go to the service's address, where nobody is.

    ## Example

        balance signals {
          vip      10.96.0.40
          port     sctp 2905
          backends { 10.244.1.7 }
        }

    ## Instead

        balance signals {
          vip      10.96.0.40
          port     tcp 2905
          backends { 10.244.1.7 }
        }
    """

    code = "E0334"
    slug = "not-balanced"
    span: Span

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"`{self.span.text}` is not balanced",
            (self.span, "`tcp` and `udp` are"),
            help=["write a line `port` for each protocol: `port tcp 53`, `port udp 53`"],
        )
