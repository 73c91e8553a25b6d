"""E0321: needs-device."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class NeedsDevice(Finding):
    """A redirect has no device, or several.

    ## What it means

    `redirect` moves a packet to one device; `mirror` sends a copy to each of those it names. Both say where
    with `into`.

    ## Why it matters

    One packet cannot leave through two devices, and without one it is lost.

    ## Example

        policy lab at tc on "eth0" {
          default allow
          ingress { redirect arp }
        }

    ## Instead

        policy lab at tc on "eth0" {
          default allow
          ingress { redirect arp into "eth2" }
        }
    """

    code = "E0321"
    slug = "needs-device"
    action: str
    span: Span
    count: int

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        if self.count:
            return self.make(
                f"`{self.action}` sends a packet to one device",
                (self.span, f"{self.count} devices"),
                help=["name one; to send copies to the others, write `mirror … into …` rules before it"],
            )
        return self.make(
            f"`{self.action}` needs a device",
            (self.span, "where to?"),
            help=[f'end the rule with `into "eth2"`, say: {self.action} … into "eth2"'],
        )
