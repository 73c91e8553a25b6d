"""E9901: internal-error."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from .base import Finding


@dataclass(frozen=True)
class InternalError(Finding):
    """lockgate is wrong, not the policy.

    ## What it means

    A stage of the compiler found its own result unsound, and stopped.

    ## Why it matters

    Nothing was written and nothing was loaded.

    ## Example (shell)

        lockgate build policy.gate

    ## Instead

        policy edge at xdp on "eth0" {
          default pass
          drop udp
        }
    """

    code = "E9901"
    slug = "internal-error"
    stage: str
    reason: str
    reproducer: str | None = None

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        notes = [f"a reproducer is in `{self.reproducer}`"] if self.reproducer else []
        return self.make(
            f"internal error in {self.stage}: {self.reason}",
            notes=[*notes, "this is a bug in lockgate, not in the policy"],
            help=["report it with the policy and the version of lockgate"],
        )
