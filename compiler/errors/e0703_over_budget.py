"""E0703: over-budget."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class OverBudget(Finding):
    """A policy compiles to more than the kernel takes.

    ## What it means

    A BPF program has a limited number of instructions, of steps the verifier walks, and of stack bytes.

    ## Why it matters

    The kernel would refuse the program when it is loaded.

    ## Example (shell)

        lockgate build huge.gate

    ## Instead

        policy edge at xdp on "eth0" {
          default pass
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
    heaviest: tuple[tuple[Span, str, int], ...] = ()

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        notes = [f"`{label}` accounts for {percent} %" for _, label, percent in self.heaviest]
        labels = [(span, "heavy") for span, _, _ in self.heaviest]
        return self.make(
            f"policy `{self.policy}` needs {self.needs} {self.unit}, the limit is {self.limit}",
            (self.span, "too large for one program"),
            *labels,
            notes=notes,
            help=["put addresses into one network and ports into one set, so that they become tables"],
        )
