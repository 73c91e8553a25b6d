"""E0330: bad-service-address."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class BadServiceAddress(Finding):
    """What stands behind `vip`, or for a backend, is not the address of one host.

    ## What it means

    Clients call one address, and one host answers. Networks, `0.0.0.0` and `::`, multicast and broadcast
    addresses are none.

    ## Why it matters

    A program compares whole addresses: one that nobody can call would never be balanced.

    ## Example

        balance shop {
          vip      10.96.0.0/16
          port     tcp 443
          backends { 10.244.1.7 }
        }

    ## Instead

        balance shop {
          vip      10.96.0.40
          port     tcp 443
          backends { 10.244.1.7 }
        }
    """

    code = "E0330"
    slug = "bad-service-address"
    span: Span
    reason: str

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(f"`{self.span.text}` is not the address of one host", (self.span, self.reason))
