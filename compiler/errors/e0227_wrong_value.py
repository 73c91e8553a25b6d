"""E0227: wrong-value."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class WrongValue(Finding):
    """A condition compares a field with a value of another kind.

    ## What it means

    MAC addresses are compared with MAC addresses, IP addresses with addresses, prefixes and networks that
    hold some of their family, everything else with numbers and with the names that the field has for them.
    Dynamic sets are asked by `from` and `to`.

    ## Why it matters

    No packet has such a value, so the condition would never hold. What a dynamic set holds is not known when
    conditions are worked out.

    ## Example

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop if eth.src == 10.0.0.1
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          drop if eth.src == 02:00:00:00:00:01
        }
    """

    code = "E0227"
    slug = "wrong-value"
    field: str
    span: Span
    expected: str
    instead: str = ""

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"`{self.span.text}` is no value of `{self.field}`",
            (self.span, f"expected {self.expected}"),
            help=[self.instead] if self.instead else (),
        )
