"""E0312: disagreement."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class Disagreement(Finding):
    """Two policies of one tier answer a packet of an endpoint that exists differently.

    ## What it means

    In a tier policies are asked by their `order`. These two have none, or the same, and both select the
    endpoint; for the packet that is shown the one says this and the other that.

    ## Why it matters

    Which of the two holds would depend on their names. Teams that agree on no numbers must not be able to
    change each other's verdicts.

    ## Example (shell)

        echo 'policy web for [app=web] { ingress { allow tcp to port 80 } }' > p.gate
        echo 'policy red for [team=red] { ingress { drop tcp from world } }' >> p.gate
        echo 'endpoints: [ { name: a, labels: { app: web, team: red } } ]' > e.yaml
        lockgate check --endpoints e.yaml p.gate

    ## Instead

        policy web for [app=web]  { order 2  ingress { allow tcp to port 80 } }
        policy red for [team=red] { order 1  ingress { drop tcp from world } }
    """

    code = "E0312"
    slug = "disagreement"
    tier: str
    first: tuple[Span, str]
    second: tuple[Span, str]
    packet: str

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        where = f"of tier `{self.tier}` " if self.tier else ""
        return self.make(
            f"two policies {where}disagree and have no order",
            (self.second[0], f"this says `{self.second[1]}`"),
            (self.first[0], f"this says `{self.first[1]}`"),
            help=["give both an `order`, or put one in another tier"],
            witness=self.packet,
        )
