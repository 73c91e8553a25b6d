"""E0305: action-not-at-hook."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class ActionNotAtHook(Finding):
    """The hook cannot do what the rule asks.

    ## What it means

    Each hook has its own actions: XDP `pass` and `drop`; tc `allow`, `drop` and `pass`; connect `allow`
    and `reject`.

    ## Why it matters

    An approximation would do something else than what is written.

    ## Example

        policy edge at xdp on "eth0" {
          default pass
          allow tcp to port 22
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default pass
          pass tcp to port 22
        }
    """

    code = "E0305"
    slug = "action-not-at-hook"
    action: str
    hook: str
    span: Span
    why: str
    remedy: str

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(self.why, (self.span, f"not at {self.hook}"), help=[self.remedy])
