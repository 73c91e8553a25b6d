"""E1002: not-sayable."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding, shorten


@dataclass(frozen=True)
class NotSayable(Finding):
    """A construct has no exact words in this language.

    ## What it means

    The importer understands it, or at least knows its name, and no rule means the same. Each importer lists
    what it refuses so in docs/import.md.

    ## Why it matters

    Leaving it out would give packets another verdict than they have today. Nothing is written while one is
    left.

    ## Example (shell)

        iptables -A INPUT -m string --algo bm --string evil -j DROP
        iptables-save > rules.v4
        lockgate import iptables-save rules.v4 --device eth0

    ## Instead (shell)

        iptables -D INPUT -m string --algo bm --string evil -j DROP
        iptables-save > rules.v4
        lockgate import iptables-save rules.v4 --device eth0
    """

    code = "E1002"
    slug = "not-sayable"
    span: Span
    what: str  # in the words of the source
    why: str
    instead: str = ""

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        help = [self.instead] if self.instead else []
        return self.make(f"`{shorten(self.what)}` cannot be said exactly", (self.span, self.why), help=help)
