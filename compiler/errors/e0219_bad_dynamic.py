"""E0219: bad-dynamic."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class BadDynamic(Finding):
    """A dynamic set lacks a size or a name.

    ## What it means

    A dynamic set is filled while the policy runs, by its name, in memory that is set aside when it is
    loaded.

    ## Why it matters

    Without a name nobody could fill it; without a size the kernel could not make it.

    ## Example

        network ban = dynamic
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from ban
        }

    ## Instead

        network ban = dynamic max 1000
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop from ban
        }
    """

    code = "E0219"
    slug = "bad-dynamic"
    span: Span
    reason: str
    nested: bool = False

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        remedy = (
            "declare it: `network NAME = dynamic max 1000`, and use the name"
            if self.nested
            else "write `dynamic max 1000`"
        )
        fixes = [] if self.nested else [Fix(self.span, "dynamic max 1000")]
        return self.make(self.reason, (self.span, "not enough is known"), help=[remedy], fixes=fixes)
