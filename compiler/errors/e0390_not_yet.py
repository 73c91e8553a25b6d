"""E0390: not-yet."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class NotYet(Finding):
    """The language has this, this version of the compiler does not.

    ## What it means

    The text is well formed. The construct belongs to a part of the language that is still to come.

    ## Why it matters

    It is refused rather than ignored: a policy with a part left out is another policy.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp to port 80 new
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp to port 80
        }
    """

    code = "E0390"
    slug = "not-yet"
    what: str
    span: Span

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"{self.what} is not supported yet",
            (self.span, "understood, not compiled"),
            help=["leave it out; `docs/language.md` lists what this version compiles"],
        )
