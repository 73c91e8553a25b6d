"""E1004: bad-import-value."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding, shorten


@dataclass(frozen=True)
class BadImportValue(Finding):
    """A value in an imported file is wrong.

    ## What it means

    An address, a port, a selector or a number is not one, or is out of its range.

    ## Why it matters

    The program that the file is for would refuse it, too, or read it in a way that cannot be known.

    ## Example (shell)

        echo '-A INPUT -s 10.0.0.256/32 -j DROP' >> rules.v4
        lockgate import iptables-save rules.v4 --device eth0

    ## Instead (shell)

        lockgate import iptables-save rules.v4 --device eth0
    """

    code = "E1004"
    slug = "bad-import-value"
    span: Span
    value: str
    why: str

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(f"`{shorten(self.value)}` {self.why}", (self.span, "here"))
