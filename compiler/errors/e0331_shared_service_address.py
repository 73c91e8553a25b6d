"""E0331: shared-service-address."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class SharedServiceAddress(Finding):
    """A service's address or port is taken: by another `balance` of the same cgroups, or by this one.

    ## What it means

    One call has one answer: an address belongs to one `balance` in the cgroups that it is for, and has each
    port once.

    ## Why it matters

    Which of two services got a call would be chance.

    ## Example

        balance shop {
          vip      10.96.0.40
          port     tcp 443
          port     tcp 443 -> 8443
          backends { 10.244.1.7 }
        }

    ## Instead

        balance shop {
          vip      10.96.0.40
          port     tcp 443 -> 8443
          backends { 10.244.1.7 }
        }
    """

    code = "E0331"
    slug = "shared-service-address"
    what: str
    span: Span
    first: Span

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"`{self.what}` is taken",
            (self.span, "again here"),
            (self.first, "first here"),
            help=["give the service another address, or say all of its ports in one `balance`"],
        )
