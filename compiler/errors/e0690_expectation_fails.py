"""E0690: expectation-fails."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class ExpectationFails(Finding):
    """A test of the policy fails.

    ## What it means

    The packet of the expectation got another verdict, or was decided by another rule, than the test says.

    ## Why it matters

    Either the policy or the expectation is wrong.

    ## Example (shell)

        echo 'policy p at xdp on "lo" { default pass  fragments first-only }' > p.gate
        echo 'test "t" of p { expect drop udp }' >> p.gate
        lockgate test p.gate

    ## Instead

        policy p at xdp on "lo" { default pass  fragments first-only }
        test "t" of p { expect pass udp }
    """

    code = "E0690"
    slug = "expectation-fails"
    span: Span
    expected: str
    got: str
    engine: str
    by: str
    deciding: Span | None = None
    packet: str | None = None

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        labels = [(self.span, f"got `{self.got}`, by `{self.by}`")]
        if self.deciding is not None:
            labels.append((self.deciding, "this decided"))
        return self.make(
            f"expected `{self.expected}`, got `{self.got}` from {self.engine}", *labels, witness=self.packet
        )
