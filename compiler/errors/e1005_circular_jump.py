"""E1005: circular-jump."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class CircularJump(Finding):
    """A chain comes back to itself.

    ## What it means

    Its rules jump to chains that jump to it again.

    ## Why it matters

    Packets would go round for ever; the kernel refuses to load it.

    ## Example (shell)

        printf '*filter\\n:INPUT ACCEPT\\n:a -\\n-A a -j a\\n-A INPUT -j a\\nCOMMIT\\n' > rules.v4
        lockgate import iptables-save rules.v4 --device eth0

    ## Instead (shell)

        printf '*filter\\n:INPUT ACCEPT\\n:a -\\n-A a -j RETURN\\n-A INPUT -j a\\nCOMMIT\\n' > rules.v4
        lockgate import iptables-save rules.v4 --device eth0
    """

    code = "E1005"
    slug = "circular-jump"
    span: Span
    names: tuple[str, ...]

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make("jumps go round in a circle: " + " > ".join(self.names), (self.span, "leads back"))
