"""E0106: nested-too-deeply."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class TooDeep(Finding):
    """Parentheses, sets or names nest too deeply.

    ## What it means

    Brackets may nest 64 levels, and declarations may rest on one another 100 levels deep.

    ## Why it matters

    A limit with a message is better than a crash on a generated file.

    ## Example

        network x = not not not not not not not not not not not not not not not not not not not
          not not not not not not not not not not not not not not not not not not not
          not not not not not not not not not not not not not not not
          not not not not not not not not not not not not not not not 10.0.0.0/8
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from x
        }

    ## Instead

        network x = 10.0.0.0/8
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from x
        }
    """

    code = "E0106"
    slug = "nested-too-deeply"
    span: Span
    limit: int
    unit: str = "levels"

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"this nests more than {self.limit} {self.unit}",
            (self.span, "here"),
            help=["give the inner parts names of their own, or list them in one set"],
        )
