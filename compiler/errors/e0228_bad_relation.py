"""E0228: bad-relation."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class BadRelation(Finding):
    """A condition relates a field and a value in a way that means nothing.

    ## What it means

    `<`, `<=`, `>` and `>=` compare quantities, such as a length, with one number. Addresses and codes have no
    order: for them there are `==`, `!=` and `in { … }`. Several values need `in`. A field stands alone only
    when it is a single bit.

    ## Why it matters

    That one code's number is below another's says nothing about the packet.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop icmp if icmp.type < 8
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop icmp if icmp.type in { 0-7 }
        }
    """

    code = "E0228"
    slug = "bad-relation"
    field: str
    span: Span
    reason: str
    instead: str

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(f"`{self.field}` {self.reason}", (self.span, "means nothing"), help=[self.instead])
