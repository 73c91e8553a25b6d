"""E0211: ports-need-protocol."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class PortsNeedProtocol(Finding):
    """A rule names a port and no protocol.

    ## What it means

    Ports belong to TCP, UDP and SCTP, each with its own. `to port 53` alone does not say which.

    ## Why it matters

    Other languages pick one, or read a port where there is none.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop to port 53
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp, udp to port 53
        }
    """

    code = "E0211"
    slug = "ports-need-protocol"
    span: Span
    action: Span | None = None

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        choices = ("tcp", "udp", "tcp, udp")
        behind = [] if self.action is None else [Span(self.span.source, self.action.end, self.action.end)]
        return self.make(
            "a port needs a protocol: tcp, udp or both?",
            (self.span, "port of which protocol?"),
            help=["write `tcp to port …`, `udp to port …` or `tcp, udp to port …`"],
            fixes=[Fix(place, f" {protocol}") for place in behind for protocol in choices],
        )
