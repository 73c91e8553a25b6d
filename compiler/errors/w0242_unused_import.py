"""W0242: unused-import."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding, whole_lines


@dataclass(frozen=True)
class UnusedImport(Finding):
    """A file is imported, and none of its names is used.

    ## What it means

    No name in this file begins with what stands behind `as` and a dot.

    ## Why it matters

    The file is an input of the bundle: when it changes, the bundle changes, for nothing.

    ## Example

        import "std/services.gate" as std
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop udp to port 123
        }

    ## Instead

        import "std/services.gate" as std
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop std.ntp
        }
    """

    code = "W0242"
    slug = "unused-import"
    name: str
    path: str
    span: Span

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"nothing uses the import `{self.name}`",
            (self.span, f"no name begins with `{self.name}.`"),
            help=["use a name of it or delete the line"],
            fixes=[Fix(whole_lines(self.span), "")],
        )
