"""E0313: different-defaults."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class DifferentDefaults(Finding):
    """Two policies of one tier have different defaults.

    ## What it means

    The default belongs to the tier: it is asked when all policies of the tier that select an endpoint have
    had their say. So there can be only one.

    ## Why it matters

    Which of the two would hold must not depend on names or on the order of the file.

    ## Example

        policy web for [app=web] { default drop   ingress { allow tcp to port 80 } }
        policy db for [app=db]   { default allow  ingress { drop tcp to port 23 } }

    ## Instead

        policy web for [app=web] { default drop  ingress { allow tcp to port 80 } }
        policy db for [app=db]   { default drop  ingress { drop tcp to port 23  allow tcp } }
    """

    code = "E0313"
    slug = "different-defaults"
    tier: str
    first: tuple[str, Span]
    second: tuple[str, Span]

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        where = f"tier `{self.tier}`" if self.tier else "policies for endpoints"
        return self.make(
            f"{where} cannot have the defaults `{self.first[0]}` and `{self.second[0]}`",
            (self.second[1], f"here `{self.second[0]}`"),
            (self.first[1], f"here `{self.first[0]}`"),
            notes=["a tier has one default, which holds after all its policies"],
            help=["give both the same default, or put one policy into another tier"],
        )
