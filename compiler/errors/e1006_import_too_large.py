"""E1006: import-too-large."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class ImportTooLarge(Finding):
    """Written out, the rules would be too many.

    ## What it means

    Chains that return in the middle are written out with everything that comes behind them, and here that
    multiplies.

    ## Why it matters

    Nobody could read the result, and it would not fit into a program.

    ## Example (shell)

        lockgate import iptables-save generated.v4 --device eth0

    ## Instead (shell)

        lockgate import iptables-save shorter.v4 --device eth0
    """

    code = "E1006"
    slug = "import-too-large"
    span: Span
    limit: int

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"this becomes more than {self.limit:,} rules",
            (self.span, "written out up to here"),
            help=["let chains decide instead of returning in the middle"],
        )
