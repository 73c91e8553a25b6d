"""W0706: stale-profile."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding

SHOWN = 5


@dataclass(frozen=True)
class StaleProfile(Finding):
    """A profile counts packets for rules that the policy does not have.

    ## What it means

    The profile was made of another version of the policy. What it says of rules that are not there any more
    is left aside; the rest is used.

    ## Why it matters

    The less a profile fits, the less it helps. Rules without a name are known by their line, so every line
    that is put in before them makes strangers of them: names last.

    ## Example (shell)

        lockgate build edge.gate --profile yesterday.profile

    ## Instead

        policy edge at xdp on "eth0" {
          default pass  fragments first-only
          names: drop udp to port 53
        }
    """

    code = "W0706"
    slug = "stale-profile"
    span: Span  # of the policy
    path: str
    unknown: tuple[str, ...]  # labels, with their rule list

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        named = ", ".join(f"`{name}`" for name in self.unknown[:SHOWN])
        more = f" and {len(self.unknown) - SHOWN:,} more" if len(self.unknown) > SHOWN else ""
        return self.make(
            f"`{self.path}` counts packets for rules that are not here",
            (self.span, f"it has no rule {named}{more}"),
            help=["make a new profile when the policy has run for a while"],
        )
