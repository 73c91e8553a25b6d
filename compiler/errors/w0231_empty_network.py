"""W0231: empty-network."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class EmptyNetwork(Finding):
    """A network holds no address.

    ## What it means

    The set is empty, the file has no entries, or everything was taken away with `-`.

    ## Why it matters

    A condition on an empty network never holds.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from 10.0.0.0/8 - any
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from 10.0.0.0/8
        }
    """

    code = "W0231"
    slug = "empty-network"
    span: Span

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            "this network is empty", (self.span, "no address is in it"), help=["a rule with it never matches"]
        )
