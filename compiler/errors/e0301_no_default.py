"""E0301: no-default."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class NoDefault(Finding):
    """A policy does not say what happens to the rest.

    ## What it means

    `default` decides everything that no rule matches.

    ## Why it matters

    Whether a firewall is open or closed by default is the most important line in it, so it is written
    down.

    ## Example

        policy edge at xdp on "eth0" {
          fragments first-only
          drop tcp to port 23
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp to port 23
        }
    """

    code = "E0301"
    slug = "no-default"
    policy: str
    span: Span
    verdicts: tuple[str, ...]
    fixes: tuple[Fix | None, ...] = ()

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        choices = " or ".join(f"`default {v}`" for v in self.verdicts)
        return self.make(
            f"policy `{self.policy}` has no `default`",
            (self.span, "what of packets that no rule matches?"),
            help=[f"write {choices}"],
            fixes=[fix for fix in self.fixes if fix is not None],
        )
