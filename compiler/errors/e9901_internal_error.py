"""E9901: internal-error."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from .base import Finding


@dataclass(frozen=True)
class InternalError(Finding):
    """lockgate is wrong, not the policy.

    ## What it means

    A stage of the compiler failed, or found its own result unsound, and stopped. The message names the stage,
    and an archive with everything that is needed to see it again: the policy and the files it reads, the
    command, the traceback, and the intermediate form where one broke. Paths in it are cut down to what
    lies in your current directory.

    With `--validate` a pass that changes what the policy means ends here, too. The message then shows a
    packet that is answered otherwise, as an `expect` line that says what is right.

    ## Why it matters

    Nothing was written and nothing was loaded.

    ## Example (shell)

        lockgate build policy.gate

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop udp
        }
    """

    code = "E9901"
    slug = "internal-error"
    stage: str
    version: str
    reproducer: str
    witness: str | None = None

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"internal error in {self.stage}",
            notes=[
                f"this is a bug in lockgate {self.version}, not in your policy",
                "nothing was written or loaded",
                "the archive holds the policy, the files it reads, the command and where lockgate failed",
            ],
            help=[
                f"report it with `{self.reproducer}`",
            ],
            witness=self.witness,
        )
