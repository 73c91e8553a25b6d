"""E0304: rules-need-blocks."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class RulesNeedBlocks(Finding):
    """A policy at tc does not say which direction its rules are for.

    ## What it means

    An interface has two directions at tc, seen from the device: `ingress` is what arrives at it, `egress`
    what leaves through it.

    ## Why it matters

    A rule in the wrong direction swaps source and destination.

    ## Example

        policy edge at tc on "eth0" {
          default allow
          drop tcp to port 23
        }

    ## Instead

        policy edge at tc on "eth0" {
          default allow
          ingress { drop tcp to port 23 }
        }
    """

    code = "E0304"
    slug = "rules-need-blocks"
    span: Span
    hook: str
    directions: tuple[str, ...]

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        blocks = " and ".join(f"`{d} {{ … }}`" for d in self.directions)
        where = "for endpoints" if self.hook == "endpoint" else f"at {self.hook}"
        return self.make(
            f"{where} rules stand in a block that says the direction",
            (self.span, "which direction?"),
            help=[f"write {blocks}, or one of them; a direction without a block is left alone"],
        )
