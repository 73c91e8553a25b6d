"""E0309: misplaced-attribute."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding

# Where an attribute stands: where it belongs, what is here, what to do.
WHERE = {
    "block": (
        "belongs to the policy, not to a block",
        "inside a block",
        "move it out of the block, in front of it",
    ),
    "interface": (
        "belongs to policies for endpoints",
        "this one is at an interface or cgroup",
        "leave it out: policies at one interface have no order among them",
    ),
    "endpoint": (
        "does not belong to policies for endpoints",
        "this one is for endpoints",
        "leave it out: their fragments are tracked",
    ),
    "failsafe": ("does not belong to a failsafe", "only `owner` does", "leave it out"),
    "tiers": ("does not belong to `tiers`", "only `default` and `owner` do", "write it in the policies"),
}


@dataclass(frozen=True)
class MisplacedAttribute(Finding):
    """An attribute stands where it does not belong.

    ## What it means

    `default`, `owner` and `fragments` hold for the whole policy, not for a block of it. `tier`, `order`,
    `state` and `mode` belong to policies for endpoints, and `fragments` to the others. A line `tiers` has no
    attributes but a default and an owner.

    ## Why it matters

    In one block only, it would look as if the other direction had another default.

    ## Example

        policy edge at tc on "eth0" {
          default allow
          ingress { default drop }
        }

    ## Instead

        policy edge at tc on "eth0" {
          default allow
          ingress { drop udp }
        }
    """

    code = "E0309"
    slug = "misplaced-attribute"
    key: str
    span: Span
    where: str = "block"

    def diagnostic(self) -> Diagnostic:
        """The facts as a message. `where`: a key of `WHERE`."""
        belongs, here, remedy = WHERE[self.where]
        return self.make(f"`{self.key}` {belongs}", (self.span, here), help=[remedy])
