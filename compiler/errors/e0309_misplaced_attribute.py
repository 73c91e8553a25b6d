"""E0309: misplaced-attribute."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class MisplacedAttribute(Finding):
    """An attribute stands inside a direction's block.

    ## What it means

    `default`, `owner` and `fragments` hold for the whole policy.

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

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"`{self.key}` belongs to the policy, not to a block",
            (self.span, "inside a block"),
            help=["move it out of the block, in front of it"],
        )
