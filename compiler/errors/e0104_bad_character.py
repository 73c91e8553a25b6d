"""E0104: bad-character."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding

# What a word processor or a keyboard makes of signs of the language → the sign.
LOOKALIKES = dict.fromkeys("“”„‟«»", '"') | dict.fromkeys("–—−‐‑", "-") | {";": "", "…": ""}


@dataclass(frozen=True)
class BadCharacter(Finding):
    """A character that the language does not use, or a string without an end.

    ## What it means

    Outside strings and comments the language uses letters, digits and a few signs. Strings end on their
    own line.

    ## Why it matters

    Control characters and look-alikes from word processors change what a reader believes to see.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp; drop udp
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp drop udp
        }
    """

    code = "E0104"
    slug = "bad-character"
    span: Span
    closing: Span | None = None

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        char = self.span.text
        if char == '"':
            return self.make(
                "a string has no end",
                (self.span, "opened here"),
                help=['close it with `"` on the same line'],
                fixes=[Fix(self.closing, '"')] if self.closing else [],
            )
        shown = char if char.isprintable() else f"U+{ord(char):04X}"
        meant = LOOKALIKES.get(char)
        return self.make(
            f"the character `{shown}` has no meaning here",
            (self.span, "not part of the language"),
            help=[f"write `{meant}`" if meant else "remove it; comments begin with `#`"],
            fixes=[] if meant is None else [Fix(self.span, meant, sure=True)],
        )
