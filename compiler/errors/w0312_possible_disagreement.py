"""W0312: possible-disagreement."""

from __future__ import annotations

from dataclasses import dataclass

from .e0312_disagreement import Disagreement


@dataclass(frozen=True)
class PossibleDisagreement(Disagreement):
    """Two policies of one tier would answer a packet differently, of an endpoint with labels that fit both.

    ## What it means

    As E0312, but nobody says that such an endpoint exists: labels are shown that would bring it about. With
    an inventory (`--endpoints FILE`) only endpoints that exist count.

    ## Why it matters

    The day somebody gives an endpoint these labels, which of the two policies holds depends on their names.

    ## Example

        policy web for [app=web]  { ingress { allow tcp to port 80 } }
        policy red for [team=red] { ingress { drop tcp from world } }

    ## Instead

        policy web for [app=web]  { order 2  ingress { allow tcp to port 80 } }
        policy red for [team=red] { order 1  ingress { drop tcp from world } }
    """

    code = "W0312"
    slug = "possible-disagreement"
