"""E1003: missing-reference."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class MissingReference(Finding):
    """A rule names something that no given file has.

    ## What it means

    A chain, a set, a tier or a namespace is referred to and is in none of the files.

    ## Why it matters

    What it holds decides about packets, and it is not known.

    ## Example (shell)

        lockgate import iptables-save rules.v4 --device eth0      # rules that ask `--match-set office src`

    ## Instead (shell)

        ipset save > sets
        lockgate import iptables-save rules.v4 sets --device eth0
    """

    code = "E1003"
    slug = "missing-reference"
    span: Span
    kind: str
    name: str
    instead: str = ""

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        help = [self.instead] if self.instead else []
        return self.make(f"there is no {self.kind} `{self.name}`", (self.span, "named here"), help=help)
