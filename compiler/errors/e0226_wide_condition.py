"""E0226: wide-condition."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class WideCondition(Finding):
    """A condition stands for too many alternatives.

    ## What it means

    `and` over several `or` multiplies: `(a or b) and (c or d)` is four alternatives. Values of one field in
    one set are one alternative, however many.

    ## Why it matters

    Each alternative is a rule of its own in the program.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp if (ip.ttl < 3 or ip.ecn == ce or tcp.window < 9 or tcp.header > 20)
            and (ip.length < 60 or ip.dscp == ef or meta.length > 900 or eth.src != 02:00:00:00:00:01)
            and (ip.ttl > 8 or ip.ecn == ect0 or tcp.window > 99 or tcp.header > 24)
            and (ip.length > 99 or ip.dscp == cs1 or meta.length < 800 or eth.dst != 02:00:00:00:00:02)
            and (ip.ttl > 9 or ip.ecn == ect1)
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp if (ip.ttl < 3 or ip.ecn == ce)
            and (ip.length < 60 or ip.dscp == ef)
        }
    """

    code = "E0226"
    slug = "wide-condition"
    span: Span
    alternatives: int
    limit: int

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"this condition stands for {self.alternatives} alternatives",
            (self.span, f"at most {self.limit} are allowed"),
            help=["write it as several rules, or test fewer fields"],
        )
