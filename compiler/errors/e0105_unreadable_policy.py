"""E0105: unreadable-policy."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class UnreadablePolicy(Finding):
    """The policy itself cannot be read.

    ## What it means

    The file does not exist, may not be read, or is not UTF-8 text.

    ## Why it matters

    Text in another encoding has other characters than its author saw.

    ## Example (shell)

        printf '\\377' > p.gate
        lockgate check p.gate

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp to port 23
        }
    """

    code = "E0105"
    slug = "unreadable-policy"
    name: str
    span: Span
    reason: str

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(f"cannot read the policy `{self.name}`: {self.reason}")
