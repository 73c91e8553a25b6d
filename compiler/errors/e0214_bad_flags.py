"""E0214: bad-flags."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class BadFlags(Finding):
    """A test of TCP flags contradicts itself or is ambiguous.

    ## What it means

    Commas mean "or" in all lists. To ask that a flag is absent, list it behind `/` and not before it.

    ## Why it matters

    `syn, !ack` reads like "and" and would mean "or".

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp flags syn, !ack
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp flags syn/syn,ack
        }
    """

    code = "E0214"
    slug = "bad-flags"
    span: Span
    reason: str
    instead: tuple[Span, str, bool] | None = None

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"`{self.span.text}` {self.reason}",
            (self.span, "not a test of flags"),
            help=[
                "`flags syn, fin`: any of them is set",
                "`flags syn/syn,ack`: of those behind `/`, exactly `syn` is set",
            ],
            fixes=[Fix(*self.instead)] if self.instead else [],
        )
