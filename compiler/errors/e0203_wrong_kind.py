"""E0203: wrong-kind."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class WrongKind(Finding):
    """A name of one kind stands where another kind is needed.

    ## What it means

    Networks, ports, services and interfaces are different kinds of things, and a place in a sentence
    takes one of them.

    ## Why it matters

    Without kinds, `from web` could silently mean nothing.

    ## Example

        service web = tcp port 80
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from web
        }

    ## Instead

        service web = tcp port 80
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop web
        }
    """

    code = "E0203"
    slug = "wrong-kind"
    name: str
    span: Span
    found: str
    wanted: str
    defined: Span | None

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        labels = [(self.span, f"expected {_article(self.wanted)}")]
        if self.defined is not None:
            labels.append((self.defined, "declared here"))
        helps = (
            ["write the service in front: `drop SERVICE from … to …`"]
            if (self.found, self.wanted) == ("service", "ports")
            else []
        )
        return self.make(
            f"`{self.name}` is {_article(self.found)}, not {_article(self.wanted)}",
            *labels,
            help=helps,
        )


def _article(kind: str) -> str:
    return kind if kind == "ports" else f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
