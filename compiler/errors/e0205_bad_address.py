"""E0205: bad-address."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class BadAddress(Finding):
    """Text that looks like an address is none.

    ## What it means

    Parts of an IPv4 address go up to 255 and have no leading zeros; prefix lengths go up to 32 for IPv4
    and 128 for IPv6.

    ## Why it matters

    An address with a typo is another address.

    ## Example

        policy edge at xdp on "eth0" {
          default pass
          drop from 10.0.0.0/33
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default pass
          drop from 10.0.0.0/32
        }
    """

    code = "E0205"
    slug = "bad-address"
    span: Span
    reason: str

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"`{self.span.text}` {self.reason}",
            (self.span, "expected an address or a prefix"),
            help=["write, for example, `192.0.2.1`, `192.0.2.0/24` or `2001:db8::/32`"],
        )
