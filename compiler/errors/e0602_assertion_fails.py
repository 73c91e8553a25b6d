"""E0602: assertion-fails."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class AssertionFails(Finding):
    """An assertion does not hold for every packet.

    ## What it means

    The policy gives some packet that the sentence describes another verdict. The message shows one, judged by
    the reference; it can be pasted into the test as an expectation.

    ## Why it matters

    An assertion says what must hold whatever rules come and go.

    ## Example (shell)

        echo 'policy p at xdp on "lo" { default pass  fragments first-only  drop tcp to port 22 }' > p.gate
        echo 'test "t" of p { assert drop tcp }' >> p.gate
        lockgate test p.gate

    ## Instead

        policy p at xdp on "lo" { default pass  fragments first-only  drop tcp to port 22 }
        test "t" of p { assert drop tcp to port 22 }
    """

    code = "E0602"
    slug = "assertion-fails"
    span: Span
    example: str
    by: str
    deciding: Span | None = None
    live: tuple[str, ...] = ()

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        labels = [(self.span, "not for every packet")]
        if self.deciding is not None:
            labels.append((self.deciding, "this decides"))
        notes = [f"decided by `{self.by}`", *(f"when {held}" for held in self.live)]
        return self.make("assertion fails", *labels, notes=notes, witness=self.example)
