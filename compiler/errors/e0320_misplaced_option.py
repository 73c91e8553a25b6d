"""E0320: misplaced-option."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class MisplacedOption(Finding):
    """An option says something that the rule's action cannot do.

    ## What it means

    `into` names where `redirect` and `mirror` send a packet; `with` says how `reject` answers; `mark` and
    `dscp` change a packet that lives on.

    ## Why it matters

    The option would do nothing, and look as if it did.

    ## Example

        policy lab at tc on "eth0" {
          default allow
          ingress { drop udp to port 514 mark 7 }
        }

    ## Instead

        policy lab at tc on "eth0" {
          default allow
          ingress { drop udp to port 514 }
        }
    """

    code = "E0320"
    slug = "misplaced-option"
    option: str
    span: Span
    why: str
    remedy: str

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(f"{self.option} cannot stand here", (self.span, self.why), help=[self.remedy])
