"""E0705: bad-profile."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class BadProfile(Finding):
    """The file that `--profile` names is no profile of this policy.

    ## What it means

    A profile says how many packets each rule decided. `lockgate counters NAME --profile FILE` writes one, and
    it carries the policy's name. This file cannot be read, is no profile, or is one of another policy.

    ## Why it matters

    A profile never changes what a policy means, but one of another policy would make this one slower, and
    nobody would see why.

    ## Example (shell)

        lockgate build edge.gate --profile gate.profile

    ## Instead

        policy edge at xdp on "eth0" {
          default pass  fragments first-only
          drop udp to port 53
        }
    """

    code = "E0705"
    slug = "bad-profile"
    span: Span  # of the policy
    path: str
    reason: str  # completes "it"

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"`{self.path}` is no profile of this policy",
            (self.span, f"it {self.reason}"),
            help=["write one while the policy runs: `lockgate counters NAME --profile FILE`"],
        )
