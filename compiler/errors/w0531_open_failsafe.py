"""W0531: open-failsafe."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class OpenFailsafe(Finding):
    """A failsafe opens a host to everybody, at every port.

    ## What it means

    The rule names neither ports nor who is at the other end.

    ## Why it matters

    Failsafes are asked before all policies, so no policy can close what this one opens. They are for the few
    ports without which a host cannot be reached to mend it.

    ## Example

        failsafe for hosts [] { ingress { allow tcp } }

    ## Instead

        failsafe for hosts [] { ingress { allow tcp to port { 22, 6443 } } }
    """

    code = "W0531"
    slug = "open-failsafe"
    span: Span

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            "a failsafe opens everything",
            (self.span, "for everybody, at every port"),
            notes=["it is asked before all policies, and none can close it again"],
            help=["name the ports that must never be closed, such as `to port 22`"],
        )
