"""E1001: not-this-format."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class NotThisFormat(Finding):
    """A file is not what the importer reads.

    ## What it means

    It is another kind of document, or it ends in the middle. The mark shows where reading stopped making
    sense.

    ## Why it matters

    Half of a rule list means something else than all of it, so nothing is written.

    ## Example (shell)

        lockgate import iptables-save half-a-file.v4 --device eth0

    ## Instead (shell)

        iptables-save > rules.v4
        lockgate import iptables-save rules.v4 --device eth0
    """

    code = "E1001"
    slug = "not-this-format"
    span: Span
    wanted: str  # what kind of file this should be
    found: str  # what is there instead

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(f"this is no {self.wanted}", (self.span, self.found))
