"""W0230: unused-name."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding, whole_lines


@dataclass(frozen=True)
class UnusedName(Finding):
    """A declaration that nothing mentions.

    ## What it means

    The name is declared and no rule, test or other declaration uses it.

    ## Why it matters

    A list that protects nothing looks like protection.

    ## Example

        network office = 10.1.0.0/16
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop udp
        }

    ## Instead

        network office = 10.1.0.0/16
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop udp from office
        }
    """

    code = "W0230"
    slug = "unused-name"
    kind: str
    name: str
    span: Span
    declaration: Span | None = None

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"{self.kind} `{self.name}` is not used",
            (self.span, "nothing mentions it"),
            help=["use it or delete it"],
            fixes=[Fix(whole_lines(self.declaration), "")] if self.declaration else [],
        )
