"""E0223: bad-difference."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class BadDifference(Finding):
    """A difference of interfaces that depends on the machine, or leaves none.

    ## What it means

    `-` takes away what has the same text. A pattern stands for the devices that fit it when the policy is
    loaded, so what is left of `"tap*" - "tap0"`, or of `"tap0" - "tap*"`, is not known before.

    ## Why it matters

    A device that seems to be left out would be judged, and one that seems to be named would not.

    ## Example

        interface taps = "tap*"
        policy edge at xdp on taps - "tap0" {
          default   pass
          fragments first-only
        }

    ## Instead

        interface taps = "tap[1-9]*"
        policy edge at xdp on taps {
          default   pass
          fragments first-only
        }
    """

    code = "E0223"
    slug = "bad-difference"
    span: Span
    shared: tuple[str, str] | None = None

    def diagnostic(self) -> Diagnostic:
        """The facts as a message. `shared`: what something is taken from, and what is taken, when one of them
        is a pattern that may hold the other; None: nothing is left."""
        if self.shared is None:
            return self.make("these are no interfaces", (self.span, "no interface is left"))
        whole, taken = self.shared
        return self.make(
            f"whether `{whole}` holds `{taken}` is known only on the machine",
            (self.span, "only what has the same text can be taken away"),
            help=["name the devices, or write patterns that leave others out: `tap[1-9]*`"],
        )
