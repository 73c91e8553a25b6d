"""E0311: does-not-decide."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class DoesNotDecide(Finding):
    """An action that lets the next rule be tried, where a packet must be decided.

    ## What it means

    `continue` and `mirror` do something to a packet and let the next rule be tried. A default, and what a
    test expects, is the end.

    ## Why it matters

    Behind the default there is no rule that could decide.

    ## Example

        policy edge at xdp on "eth0" {
          default   continue
          fragments first-only
          drop udp
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop udp
        }
    """

    code = "E0311"
    slug = "does-not-decide"
    action: str
    span: Span
    verdicts: tuple[str, ...]

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        listed = " or ".join(f"`{verdict}`" for verdict in self.verdicts)
        return self.make(
            f"`{self.action}` lets the next rule be tried, so it decides nothing here",
            (self.span, "must decide"),
            help=[f"write {listed}"],
            fixes=[Fix(self.span, verdict) for verdict in self.verdicts],
        )
