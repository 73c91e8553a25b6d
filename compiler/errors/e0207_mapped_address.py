"""E0207: mapped-address."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class MappedAddress(Finding):
    """An IPv4 address is written in IPv6 form.

    ## What it means

    `::ffff:a.b.c.d` is how an IPv6 socket names an IPv4 peer. On the wire such packets are IPv4; an IPv6
    packet with such an address is malformed.

    ## Why it matters

    The rule would never match, and the IPv4 traffic it was meant for would go by.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from ::ffff:10.0.0.1
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from 10.0.0.1
        }
    """

    code = "E0207"
    slug = "mapped-address"
    span: Span
    v4: str

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"`{self.span.text}` is an IPv4-mapped prefix",
            (self.span, "never on the wire"),
            help=[f"write `{self.v4}`"],
            notes=["at connect, a socket that uses a mapped address is judged as IPv4"],
            fixes=[Fix(self.span, self.v4, sure=True)],
        )
