"""E0335: repeated-backend."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class RepeatedBackend(Finding):
    """A backend is listed twice, or is itself the address of a service.

    ## What it means

    A backend has one weight. A call is balanced once: a backend is where somebody listens.

    ## Why it matters

    Removing a backend that is listed twice would leave it there; one that is a service's address would never
    be reached.

    ## Example

        balance shop {
          vip      10.96.0.40
          port     tcp 443
          backends { 10.244.1.7, 10.244.1.7 weight 3 }
        }

    ## Instead

        balance shop {
          vip      10.96.0.40
          port     tcp 443
          backends { 10.244.1.7 weight 3 }
        }
    """

    code = "E0335"
    slug = "repeated-backend"
    span: Span
    first: Span
    is_vip: bool

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        what = "is the address of a service" if self.is_vip else "is a backend twice"
        return self.make(f"`{self.span.text}` {what}", (self.span, "here"), (self.first, "and here"))
