"""E0208: reserved-name."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class ReservedName(Finding):
    """The language has its own use for this name.

    ## What it means

    Protocols (`tcp`), groups of endpoints (`world`, `cluster`, `nodes`, `self`), dotted names and, for
    rules, `default` and `malformed` have a meaning of their own.

    ## Why it matters

    A second meaning would make one of the two unreachable.

    ## Example

        network tcp = 10.0.0.0/8
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop udp
        }

    ## Instead

        network lab = 10.0.0.0/8
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop udp from lab
        }
    """

    code = "E0208"
    slug = "reserved-name"
    name: str
    span: Span
    why: str

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"`{self.name}` cannot be used as a name", (self.span, self.why), help=["choose another name"]
        )
