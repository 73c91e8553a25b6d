"""E0316: bad-inventory."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class BadInventory(Finding):
    """The inventory says something that cannot be.

    ## What it means

    The file of `--endpoints` is no YAML or JSON, has a key that there is not, or contradicts itself: an
    address or an interface belongs to two endpoints, two endpoints have one name. `docs/endpoints.md` has
    the form.

    ## Why it matters

    Who has an address decides what happens to its packets.

    ## Example (shell)

        echo 'policy web for [app=web] { ingress { allow tcp to port 80 } }' > p.gate
        echo 'endpoints: [ { name: a, lables: { app: web } } ]' > e.yaml
        lockgate check --endpoints e.yaml p.gate

    ## Instead

        policy web for [app=web] { ingress { allow tcp to port 80 } }
    """

    code = "E0316"
    slug = "bad-inventory"
    span: Span
    path: str
    reason: str
    instead: str = ""
    more: int = 0

    def diagnostic(self) -> Diagnostic:
        """The facts as a message. `path`: of what is wrong, inside the file."""
        return self.make(
            f"{f'`{self.path}`' if self.path else 'the inventory'} {self.reason}",
            (self.span, "here" if self.path else ""),
            notes=[f"{self.more} more mistakes of this file are not shown"] if self.more else [],
            help=[self.instead] if self.instead else [],
        )
