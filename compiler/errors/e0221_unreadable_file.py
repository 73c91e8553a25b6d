"""E0221: unreadable-file."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class UnreadableFile(Finding):
    """A file that the policy names cannot be read.

    ## What it means

    It does not exist, may not be read, or is not UTF-8 text.

    ## Why it matters

    A missing list is not an empty list.

    ## Example

        network x = file "no-such-file.txt"
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from x
        }

    ## Instead

        network x = { 10.0.0.0/8, 192.0.2.0/24 }
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from x
        }
    """

    code = "E0221"
    slug = "unreadable-file"
    name: str
    span: Span
    reason: str

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"cannot read `{self.name}`",
            (self.span, self.reason),
            help=["the name is relative to the policy's own directory"],
        )
