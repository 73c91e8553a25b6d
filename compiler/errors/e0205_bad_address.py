"""E0205: bad-address."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding

_LEADING_ZEROS = re.compile(r"\b0+(?=\d)")


def _is_v4(text: str) -> bool:
    try:
        ipaddress.IPv4Network(text)
    except ValueError:
        return False
    return True


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
          default   pass
          fragments first-only
          drop from 10.0.0.0/33
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from 10.0.0.0/32
        }
    """

    code = "E0205"
    slug = "bad-address"
    span: Span
    reason: str

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        shorter = _LEADING_ZEROS.sub("", self.span.text)
        return self.make(
            f"`{self.span.text}` {self.reason}",
            (self.span, "expected an address or a prefix"),
            fixes=[Fix(self.span, shorter)] if _is_v4(shorter) and shorter != self.span.text else [],
            help=["write, for example, `192.0.2.1`, `192.0.2.0/24` or `2001:db8::/32`"],
        )
