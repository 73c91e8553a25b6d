"""E0204: host-bits."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class HostBits(Finding):
    """A prefix has bits set behind its prefix length.

    ## What it means

    `10.0.0.1/8` names a host and a network at once. It is not clear which is meant.

    ## Why it matters

    Clearing the bits silently would turn a rule for one host into one for sixteen million.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from 10.0.0.1/8
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from 10.0.0.0/8
        }
    """

    code = "E0204"
    slug = "host-bits"
    span: Span
    network: str
    host: str

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        helps = [f"write `{self.network}` for the network, `{self.host}` for the host"]
        return self.make(
            f"`{self.span.text}` has bits set below its mask",
            (self.span, "not a network"),
            help=helps,
            fixes=[Fix(self.span, self.network), Fix(self.span, self.host)],
        )
