"""W1010: not-policy."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class NotPolicy(Finding):
    """A part of the file is no policy and was left out.

    ## What it means

    It changes packets, or describes something else, and says nothing about which packets may pass.

    ## Why it matters

    If it is needed it must stay where it is: the imported policy does not replace it.

    ## Example (shell)

        lockgate import iptables-save rules.v4 --device eth0       # with a table `mangle`

    ## Instead (shell)

        iptables-save -t filter > rules.v4
        lockgate import iptables-save rules.v4 --device eth0
    """

    code = "W1010"
    slug = "not-policy"
    span: Span
    what: str
    count: int

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        many = f"{self.count:,} of them" if self.count > 1 else "left out"
        return self.make(f"`{self.what}` is not policy", (self.span, many))
