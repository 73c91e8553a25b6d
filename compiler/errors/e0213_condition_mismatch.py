"""E0213: condition-mismatch."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class ConditionMismatch(Finding):
    """A condition asks for a field that the rule's traffic does not have.

    ## What it means

    Flags belong to TCP, types to ICMP, ports to TCP, UDP and SCTP; the table of fields says it of the others.

    ## Why it matters

    The condition would never hold, so the rule would never match.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop udp flags syn
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp flags syn
        }
    """

    code = "E0213"
    slug = "condition-mismatch"
    condition: str
    span: Span
    needs: str
    remedy: str
    insert: tuple[Span, str] | None = None

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        fixes = []
        if self.insert is not None:
            action, word = self.insert
            fixes.append(Fix(Span(self.span.source, action.end, action.end), f" {word}", sure=True))
        return self.make(
            f"{self.condition} needs {self.needs}",
            (self.span, "this traffic has none"),
            help=[self.remedy],
            fixes=fixes,
        )
