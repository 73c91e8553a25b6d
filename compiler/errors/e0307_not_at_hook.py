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
WHY_ELSEWHERE = {
    "meta.mark": "marks belong to the packet that the kernel builds later",
    "sock.uid": "a packet has no user",
    "sock.cgroup": "a packet has no process",
}


@dataclass(frozen=True)
class NotAtHook(Finding):
    """A condition asks for what the hook cannot see.

    ## What it means

    At connect there is no packet yet, only a socket and the address it calls: no source, no flags, no
    ICMP type. Labels and groups such as `cluster` are known to policies for endpoints alone.

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
    seen_at: tuple[str, ...] = ("tc", "xdp")

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        at_connect = WHY.get(self.condition, "there is no packet yet")
        why = (
            at_connect if self.hook == "connect" else WHY_ELSEWHERE.get(self.condition, "it cannot be known")
        )
        where, remedy = why, f"a policy at {' or '.join(self.seen_at)} sees it"
        if self.seen_at == ("endpoint",):
            where, remedy = (
                "it knows addresses, not labels",
                "a policy `for [labels]` knows who has an address",
            )
        return self.make(f"`{self.condition}` is not known at {self.hook}", (self.span, where), help=[remedy])
