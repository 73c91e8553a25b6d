"""E0703: over-budget."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding

OTHERWISE = "put addresses into one network and ports into one set, so that they become tables"
HELP = {
    "maps": "let rules share sets, since one set is one table however often it is asked, or leave out "
    "`per` where a limit may be shared",
}


@dataclass(frozen=True)
class OverBudget(Finding):
    """A policy compiles to more than the kernel takes.

    ## What it means

    The kernel's verifier walks through a program in a limited number of steps, and a program may use 64 maps.
    Steps are predicted, rather too many than too few; [limits](../limits.md) says how.

    ## Why it matters

    The kernel would refuse the program when it is loaded.

    ## Example (shell)

        lockgate build huge.gate

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop udp from { 10.0.0.0/8, 192.0.2.0/24 }
        }
    """

    code = "E0703"
    slug = "over-budget"
    policy: str
    span: Span
    needs: int
    limit: int
    unit: str
    rules: int
    heaviest: tuple[tuple[Span, str, int], ...] = ()

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        heavy = [(span, label, percent) for span, label, percent in self.heaviest if percent]
        notes = [f"`{label}` accounts for {percent} %" for _, label, percent in heavy]
        return self.make(
            f"policy `{self.policy}` needs {self.needs:,} {self.unit}, the limit is {self.limit:,}",
            (self.span, f"{self.rules:,} rule{'s' * (self.rules != 1)}: too large for one program"),
            *((span, "heavy") for span, _, _ in heavy),
            notes=notes or ["no rule accounts for more than others; there are too many of them"],
            help=[HELP.get(self.unit, OTHERWISE)],
        )
