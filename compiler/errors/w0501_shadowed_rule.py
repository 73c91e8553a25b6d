"""W0501: shadowed-rule."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding, whole_lines


@dataclass(frozen=True)
class ShadowedRule(Finding):
    """A rule never decides, because earlier ones take all its packets.

    ## What it means

    The first rule that matches decides. Everything this rule matches is matched by rules above it, alone
    or together.

    ## Why it matters

    If the verdicts differ, what the rule says does not happen.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          a: pass udp b: drop udp to port 53
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          b: drop udp to port 53 a: pass udp
        }
    """

    code = "W0501"
    slug = "shadowed-rule"
    span: Span
    name: str
    verdict: str
    takers: tuple[tuple[Span, str, str], ...]
    example: str | None = None

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        labels = [(span, f"`{label}` comes first") for span, label, _ in self.takers]
        names = " and ".join(f"`{label}`" for _, label, _ in self.takers)
        others = [
            f"`{label}` gives `{v}`, not `{self.verdict}`: a conflict, not only redundancy"
            for _, label, v in self.takers
            if v != self.verdict
        ]
        notes = (
            [f"everything it matches is taken by {names}", *others]
            if self.takers
            else ["no packet can match it"]
        )
        return self.make(
            f"rule `{self.name}` never decides a packet",
            (self.span, "never reached"),
            *labels,
            notes=notes,
            witness=self.example,
            fixes=[] if others else [Fix(whole_lines(self.span), "")],
        )
