"""E0241: import-cycle."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class ImportCycle(Finding):
    """Files import one another in a circle.

    ## What it means

    Following the imports of a file leads back to that file.

    ## Why it matters

    Of two files in a circle, neither can be read and understood first.

    ## Example

        import "example.gate" as common
        network bastions = 192.0.2.10
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp from not common.bastions to port 22
        }

    ## Instead

        network bastions = 192.0.2.10
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp from not bastions to port 22
        }
    """

    code = "E0241"
    slug = "import-cycle"
    steps: tuple[tuple[str, Span], ...]

    def diagnostic(self) -> Diagnostic:
        """The facts as a message. `steps`: (file, its import of the next)."""
        names = [name for name, _ in self.steps]
        path = " -> ".join(f"`{name}`" for name in [*names, names[0]])
        labels = [(span, "imports the next file") for _, span in self.steps[:-1]]
        return self.make(
            f"`{names[0]}` imports itself",
            (self.steps[-1][1], "leads back"),
            *labels,
            notes=[path] if len(names) > 1 else [],
            help=["move the names that both need to a file of their own"],
        )
