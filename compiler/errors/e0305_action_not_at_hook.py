"""E0305: action-not-at-hook."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding

# The remedy begins with the word to write; it is the only one when nothing but an explanation follows.
INSTEAD = re.compile(r"write `(?P<word>\w+)`(?P<only>$|;)?")


@dataclass(frozen=True)
class ActionNotAtHook(Finding):
    """The hook cannot do what the rule asks.

    ## What it means

    Each hook has its own actions: XDP `pass`, `drop` and `redirect`; tc `allow`, `drop`, `pass`, `reject`,
    `redirect` and `mirror`; connect `allow` and `reject`; all of them `continue`. Marks exist at tc, a new
    DSCP at XDP and tc.

    ## Why it matters

    An approximation would do something else than what is written.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          allow tcp to port 22
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
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
        instead = INSTEAD.match(self.remedy)
        fixes = [Fix(self.span, instead["word"], sure=instead["only"] is not None)] if instead else []
        return self.make(self.why, (self.span, f"not at {self.hook}"), help=[self.remedy], fixes=fixes)
