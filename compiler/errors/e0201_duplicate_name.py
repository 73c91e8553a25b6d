"""E0201: duplicate-name."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class DuplicateName(Finding):
    """Two declarations have one name.

    ## What it means

    All networks, ports, services, interfaces and policies of a file share one name space, whatever their
    order.

    ## Why it matters

    If the later one silently won, adding a line could change rules far away.

    ## Example

        network office = 10.1.0.0/16
        network office = 10.2.0.0/16
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from office
        }

    ## Instead

        network office = 10.1.0.0/16
        network branch = 10.2.0.0/16
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from office + branch
        }
    """

    code = "E0201"
    slug = "duplicate-name"
    name: str
    span: Span
    first: Span

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"`{self.name}` is declared twice",
            (self.span, "declared again"),
            (self.first, "declared here"),
            help=["give one of them another name"],
        )
