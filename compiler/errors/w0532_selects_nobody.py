"""W0532: selects-nobody."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class SelectsNobody(Finding):
    """A selector takes no endpoint of the inventory.

    ## What it means

    No endpoint carries labels that satisfy it.

    ## Why it matters

    A policy for nobody protects nobody. Most often a label is misspelt; it can also be that such endpoints
    are still to come.

    ## Example (shell)

        echo 'policy web for [app=wbe] { ingress { allow tcp to port 80 } }' > p.gate
        echo 'endpoints: [ { name: a, labels: { app: web } } ]' > e.yaml
        lockgate check --endpoints e.yaml p.gate

    ## Instead

        policy web for [app=web] { ingress { allow tcp to port 80 } }
    """

    code = "W0532"
    slug = "selects-nobody"
    span: Span
    selector: str
    nearest: tuple[str, ...]

    def diagnostic(self) -> Diagnostic:
        """The facts as a message. `nearest`: labels that there are, most like those asked for."""
        near = " or ".join(f"`{label}`" for label in self.nearest)
        return self.make(
            f"no endpoint is taken by `{self.selector}`",
            (self.span, "nobody"),
            help=[f"did you mean {near}?"] if near else [],
        )
