"""E0202: unknown-name."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Candidates, Finding, nearest, surely

DECLARED = ("network", "ports", "service", "interface")


@dataclass(frozen=True)
class UnknownName(Finding):
    """Nothing of this kind has this name.

    ## What it means

    The name is neither declared in this file nor part of the language, nor, when it has a dot, declared in
    the file that was imported under what stands before the dot. What an imported file itself imports is
    not passed on.

    ## Why it matters

    An unknown network cannot be taken for an empty one: the rule would never match.

    ## Example

        network bastions = 192.0.2.10
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp from not bastoins to port 22
        }
        policy other at xdp on "eth1" {
          default   pass
          fragments first-only
          pass from bastions
        }

    ## Instead

        network bastions = 192.0.2.10
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop tcp from not bastions to port 22
        }
    """

    code = "E0202"
    slug = "unknown-name"
    kind: str
    name: str
    span: Span
    known: Candidates = ()

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        near = nearest(self.name, self.known)
        if near is None:
            some = ", ".join(f"`{name}`" for name, _ in self.known[:12])
            helps = (
                [f"known here: {some}"]
                if some
                else [f"declare it: `{self.kind} {self.name} = …`"]
                if self.kind in DECLARED
                else []
            )
            return self.make(
                f"{self.kind} `{self.name}` is not defined", (self.span, "unknown name"), help=helps
            )
        name, place = near
        fix = Fix(self.span, name, sure=place is None and surely(self.name, name, self.known))
        if place is not None and place.source is not self.span.source:
            where = f"{place.source.shown}:{place.line}"
            labels = [(self.span, f"did you mean `{name}` ({where})?")]
        else:
            labels = [(self.span, f"did you mean `{name}`?")]
        if place is not None and place.source is self.span.source:
            labels.append((place, f"`{name}` is declared here"))
        return self.make(f"{self.kind} `{self.name}` is not defined", *labels, fixes=[fix])
