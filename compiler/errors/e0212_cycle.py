"""E0212: cycle."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class Cycle(Finding):
    """Declarations define each other in a circle.

    ## What it means

    To know the first one needs the second, and so on, back to the first.

    ## Why it matters

    A circle has no value, or more than one.

    ## Example

        network a = b + 10.0.0.0/8
        network b = a - 10.1.0.0/16
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from a
        }

    ## Instead

        network a = b + 10.0.0.0/8
        network b = 192.0.2.0/24
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from a
        }
    """

    code = "E0212"
    slug = "cycle"
    circle: tuple[tuple[str, Span], ...]

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        names = [name for name, _ in self.circle]
        path = " -> ".join(f"`{n}`" for n in [*names, names[0]])
        labels = [
            (span, "rests on the next" if i else "rests on itself") for i, (_, span) in enumerate(self.circle)
        ]
        return self.make(
            f"`{names[0]}` is defined by itself", *labels, notes=[path] if len(names) > 1 else []
        )
