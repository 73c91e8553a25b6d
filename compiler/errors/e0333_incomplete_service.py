"""E0333: incomplete-service."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class IncompleteService(Finding):
    """A `balance` says not all of `vip`, `port` and `backends`.

    ## What it means

    A service is an address and a port that clients call, and backends that answer.

    ## Why it matters

    Without one of them there is nothing to balance.

    ## Example

        balance shop {
          vip      10.96.0.40
          backends { 10.244.1.7 }
        }

    ## Instead

        balance shop {
          vip      10.96.0.40
          port     tcp 443
          backends { 10.244.1.7 }
        }
    """

    code = "E0333"
    slug = "incomplete-service"
    name: Span
    missing: tuple[str, ...]

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        listed = " and ".join(f"`{word}`" for word in self.missing)
        return self.make(
            f"`{self.name.text}` has no {listed}",
            (self.name, "this service"),
            help=["write `vip ADDRESS`, `port tcp PORT` and `backends { ADDRESS, … }`"],
        )
