"""E0307: not-at-hook."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding

WHY = {
    "from": "the socket may have no address of its own yet",
    "fragments": "sockets send no fragments of their own",
    "arp": "sockets send no ARP",
}


@dataclass(frozen=True)
class NotAtHook(Finding):
    """A condition asks for what the hook cannot see.

    ## What it means

    At connect there is no packet yet, only a socket and the address it calls: no source, no flags, no
    ICMP type.

    ## Why it matters

    A condition on a missing field is never true, so the rule would never match.

    ## Example

        policy out at connect for cgroup "/app" {
          default allow
          reject tcp from 10.0.0.1 to port 25
        }

    ## Instead

        policy out at connect for cgroup "/app" {
          default allow
          reject tcp to port 25
        }
    """

    code = "E0307"
    slug = "not-at-hook"
    condition: str
    hook: str
    span: Span

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        why = WHY.get(self.condition, "there is no packet yet")
        return self.make(
            f"`{self.condition}` is not known at {self.hook}",
            (self.span, why),
            help=["a policy at tc or xdp sees it"],
        )
