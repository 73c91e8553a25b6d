"""E0315: no-tier."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Candidates, Finding


@dataclass(frozen=True)
class NoTier(Finding):
    """A policy for endpoints names no tier, and there are several.

    ## What it means

    A line `tiers` says in which order policies are asked. With it each policy says where it belongs.

    ## Why it matters

    A policy of an earlier tier decides before all of a later one.

    ## Example

        tiers security > application
        policy web for [app=web] { default drop  ingress { allow tcp to port 80 } }

    ## Instead

        tiers security > application
        policy web for [app=web] { tier application  default drop  ingress { allow tcp to port 80 } }
    """

    code = "E0315"
    slug = "no-tier"
    policy: str
    span: Span
    tiers: Candidates

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        names = " or ".join(f"`tier {name}`" for name, _ in self.tiers)
        return self.make(
            f"policy `{self.policy}` says no tier", (self.span, "in which tier?"), help=[f"write {names}"]
        )
