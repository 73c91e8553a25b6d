"""E0401: not-delegated."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class NotDelegated(Finding):
    """A policy does what its directory may not.

    ## What it means

    A file `lockgate.toml`, in the policy's directory or one above it, says which hooks, interfaces, cgroups,
    actions, imports and owners the policies there may have. Every such file on the way holds.

    ## Why it matters

    A directory can be left to a team, since what the team may do is checked and does not rest on trust.

    ## Example (shell)

        $ printf '[delegate]\\nhooks = ["tc"]\\n' > lockgate.toml
        $ echo 'policy lab at xdp on "tap0" { default pass  fragments first-only  drop udp }' > lab.gate
        $ lockgate check lab.gate

    ## Instead (shell)

        $ echo 'policy lab at tc on "tap0" { default pass ingress { drop udp } }' > lab.gate
        $ lockgate check lab.gate
    """

    code = "E0401"
    slug = "not-delegated"
    what: str
    span: Span
    key: str
    allowed: Span

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"no policy {self.what} may be in this directory",
            (self.span, f"outside of `{self.key}`"),
            (self.allowed, "what is delegated"),
        )
