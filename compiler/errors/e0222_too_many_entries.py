"""E0222: too-many-entries."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class TooManyEntries(Finding):
    """A prefix file has more entries than its `max`.

    ## What it means

    `max` is the author's promise about the size of a list that others maintain.

    ## Why it matters

    A list that suddenly doubles is more often an accident than a wish.

    ## Example (shell)

        printf '10.0.0.0/8\\n192.0.2.0/24\\n' > list.txt
        echo 'network x = file "list.txt" max 1' > p.gate
        lockgate check p.gate

    ## Instead

        network x = 10.0.0.0/8
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from x
        }
    """

    code = "E0222"
    slug = "too-many-entries"
    name: str
    span: Span
    entries: int
    maximum: int

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"`{self.name}` has {self.entries} entries",
            (self.span, f"at most {self.maximum} are allowed"),
            help=["raise `max`, or find out why the list grew"],
        )
