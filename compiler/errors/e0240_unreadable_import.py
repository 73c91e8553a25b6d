"""E0240: unreadable-import."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class UnreadableImport(Finding):
    """A file that is imported cannot be read.

    ## What it means

    The path is looked for relative to the importing file, then below each folder that `-I` names, then, when
    it begins with `std/`, in the language's own library. The first file that is there is taken.

    ## Why it matters

    Without the file, its names mean nothing.

    ## Example

        import "std/servics.gate" as std
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop std.ntp
        }

    ## Instead

        import "std/services.gate" as std
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop std.ntp
        }
    """

    code = "E0240"
    slug = "unreadable-import"
    path: str
    span: Span
    reason: str
    looked: tuple[str, ...] = ()

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"cannot import `{self.path}`",
            (self.span, self.reason),
            notes=[f"looked for `{place}`" for place in self.looked],
            help=["the path is relative to this file; `-I FOLDER` names further folders"]
            if self.looked
            else [],
        )
