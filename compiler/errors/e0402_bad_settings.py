"""E0402: bad-settings."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class BadSettings(Finding):
    """A file `lockgate.toml` cannot be used.

    ## What it means

    It cannot be read, is not TOML, or a key has a value of another kind.

    ## Why it matters

    A limit that cannot be read is no limit, so nothing is compiled without it.

    ## Example (shell)

        $ printf '[delegate]\\nhooks = "tc"\\n' > lockgate.toml
        $ echo 'policy lab at tc on "tap0" { default pass ingress { drop udp } }' > lab.gate
        $ lockgate check lab.gate

    ## Instead (shell)

        $ printf '[delegate]\\nhooks = ["tc"]\\n' > lockgate.toml
        $ lockgate check lab.gate
    """

    code = "E0402"
    slug = "bad-settings"
    span: Span
    reason: str

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make("these settings cannot be used", (self.span, self.reason))
