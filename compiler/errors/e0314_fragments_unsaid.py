"""E0314: fragments-unsaid."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class FragmentsUnsaid(Finding):
    """A policy at XDP does not say what becomes of fragments.

    ## What it means

    Only the first fragment of a datagram has ports, TCP flags and an ICMP type. XDP sees every fragment by
    itself, before anything puts them together, so a policy there says what later ones are judged by:

    * `fragments first-only`: they have no ports, and fall to rules that ask for none, or to the default
    * `fragments drop`: every fragment is dropped before any rule
    * `fragments track`: they are judged by the ports of their datagram's first fragment

    ## Why it matters

    With `default pass`, later fragments of what a rule by ports drops get through under `first-only`. With
    `default drop`, they are lost of what a rule by ports passes, so large answers over UDP fail. Each mode is
    right somewhere, and none is harmless everywhere.

    The fix writes `first-only`, which is what a policy without the line meant before it had to say so.

    ## Example

        policy edge at xdp on "eth0" {
          default pass
          drop udp to port 161
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments track
          drop udp to port 161
        }
    """

    code = "E0314"
    slug = "fragments-unsaid"
    policy: str
    span: Span
    hook: str
    fix: Fix | None = None

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"policy `{self.policy}` at {self.hook} has no `fragments`",
            (self.span, "what of fragments, of which only the first has ports?"),
            help=[
                "write `fragments first-only` (later ones fall to rules without ports), `fragments drop` "
                "(none gets in) or `fragments track` (later ones are judged by the ports of their first)"
            ],
            fixes=[self.fix] if self.fix else [],
        )
