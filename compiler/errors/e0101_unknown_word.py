"""E0101: unknown-word."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class UnknownWord(Finding):
    """A word stands where the language has none of that name.

    ## What it means

    Declarations, rules and attributes each begin with a word of the language. This word is not one of
    them; most often it is misspelt.

    ## Why it matters

    Nothing is guessed: a rule that was meant to drop must not silently disappear.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drp tcp to port 23
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp to port 23
        }
    """

    code = "E0101"
    slug = "unknown-word"
    word: str
    span: Span
    suggestion: str | None
    remedy: str = ""
    sure: bool = False

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        near = f"did you mean `{self.suggestion}`?" if self.suggestion else "not understood here"
        # Glued to what stands before it, as in `0x0scp`, another word would be read another way.
        apart = not self.span.source.text[: self.span.start][-1:].isalnum()
        fixes = [Fix(self.span, self.suggestion, self.sure and apart)] if self.suggestion else []
        return self.make(
            f"unknown word `{self.word}`",
            (self.span, near),
            help=[self.remedy] if self.remedy else [],
            fixes=fixes,
        )
