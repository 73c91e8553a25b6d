"""E0603: not-one-packet."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class NotOnePacket(Finding):
    """An expectation describes more than one packet.

    ## What it means

    `expect` builds one packet and sends it through the policy. Addresses, ports and types must be single
    ones; what is left out has a default.

    ## Why it matters

    One packet that happens to pass says nothing about a set.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from 10.0.0.0/8
        }
        test "ten" of edge { expect drop from 10.0.0.0/8 }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from 10.0.0.0/8
        }
        test "ten" of edge { expect drop from 10.0.0.1 }
    """

    code = "E0603"
    slug = "not-one-packet"
    what: str
    span: Span
    reason: str

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"{self.what} {self.reason}",
            (self.span, "one packet is needed"),
            help=["`expect` describes one packet: one address, one port, one protocol"],
        )
