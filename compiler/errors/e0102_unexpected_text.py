"""E0102: unexpected-text."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class UnexpectedText(Finding):
    """Something stands where the sentence needs something else.

    ## What it means

    The text up to here was understood; the underlined piece cannot follow it. The label says what can.

    ## Why it matters

    The rest of the sentence is left out, and reading goes on at the next rule, so that one slip gives one
    message.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp from to 10.0.0.1
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp to 10.0.0.1
        }
    """

    code = "E0102"
    slug = "unexpected-text"
    found: str
    span: Span
    expected: str
    hint: str | None = None
    instead: str | None = None
    sure: bool = False
    unfinished: tuple[Span, str] | None = None

    def diagnostic(self) -> Diagnostic:
        """The facts as a message. `unfinished`: a place in an earlier line that lacks its rest, and why."""
        return self.make(
            f"unexpected {self.found}",
            (self.span, f"expected {self.expected}"),
            *([self.unfinished] if self.unfinished else []),
            help=[self.hint] if self.hint else [],
            fixes=[Fix(self.span, self.instead, sure=self.sure)] if self.instead else [],
        )
