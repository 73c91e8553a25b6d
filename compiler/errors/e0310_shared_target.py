"""E0310: shared-target."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class SharedTarget(Finding):
    """Two XDP policies claim one interface.

    ## What it means

    The kernel runs one XDP program on an interface.

    ## Why it matters

    Only one of the two would be in force.

    ## Example

        policy a at xdp on "eth0" { default pass  fragments first-only }
        policy b at xdp on "eth0" { default drop  fragments first-only }

    ## Instead

        policy a at xdp on "eth0" { default pass  fragments first-only }
        policy b at xdp on "eth1" { default drop  fragments first-only }
    """

    code = "E0310"
    slug = "shared-target"
    target: str
    span: Span
    first: Span

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"two policies at xdp are for `{self.target}`",
            (self.span, "the second"),
            (self.first, "the first"),
            help=["put the rules into one policy"],
        )
