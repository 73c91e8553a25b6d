"""E0332: no-backend."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class NoBackend(Finding):
    """No backend takes the calls for an address of a service.

    ## What it means

    An IPv4 socket cannot talk to an IPv6 host, so an address needs backends of its own family; and a backend
    that is `draining` takes no new clients.

    ## Why it matters

    Clients that look a name up try one family after the other: a family that nobody answers costs each of
    them a failed call.

    ## Example

        balance shop {
          vip      10.96.0.40, fd00:96::40
          port     tcp 443
          backends { 10.244.1.7, 10.244.2.9 }
        }

    ## Instead

        balance shop {
          vip      10.96.0.40
          port     tcp 443
          backends { 10.244.1.7, 10.244.2.9 }
        }
    """

    code = "E0332"
    slug = "no-backend"
    vip: Span
    backends: Span
    family: int
    draining: bool

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        why = "all of its family are draining" if self.draining else f"none of these is IPv{self.family}"
        return self.make(
            f"nobody answers calls for `{self.vip.text}`",
            (self.vip, f"an IPv{self.family} address"),
            (self.backends, why),
            help=["add a backend of that family, or remove the address"],
        )
