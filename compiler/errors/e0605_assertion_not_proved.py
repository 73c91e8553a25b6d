"""E0605: assertion-not-proved."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class AssertionNotProved(Finding):
    """An assertion was neither proved nor shown to be wrong.

    ## What it means

    The prover takes what the rules decide from what the sentence describes. What is left may hold no packet
    that exists, but that is not known.

    ## Why it matters

    "Probably" is no proof, so the test fails.

    ## Example (shell)

        echo 'policy p at xdp on "lo" { default pass  fragments drop  drop from ::fffe:0:0/95 }' > p.gate
        echo 'test "t" of p { assert pass from ::fffe:0:0/95 - ::fffe:0:0/96 }' >> p.gate
        lockgate test p.gate

    ## Instead

        policy p at xdp on "lo" { default pass  fragments first-only  drop tcp to port 22 }
        test "t" of p { assert drop tcp to port 22 }
    """

    code = "E0605"
    slug = "assertion-not-proved"
    span: Span
    reason: str

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            "assertion is neither proved nor shown wrong",
            (self.span, self.reason),
            help=["describe fewer packets, or split it into several assertions"],
        )
