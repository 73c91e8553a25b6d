"""E0243: bad-argument."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class BadArgument(Finding):
    """A template is used with arguments that do not fit its parameters.

    ## What it means

    Arguments stand in the order of the parameters, one for each, and each is of its parameter's kind: a
    network, ports, a service, an interface or a rate.

    ## Why it matters

    `22` where an address is wanted would make a rule that never matches.

    ## Example

        template admin(sources: network, on: ports) {
          drop tcp from not sources to port on
        }
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          use admin(22, 22)
        }

    ## Instead

        template admin(sources: network, on: ports) {
          drop tcp from not sources to port on
        }
        policy edge at xdp on "eth0" {
          default   pass
          fragments first-only
          use admin(192.0.2.0/24, 22)
        }
    """

    code = "E0243"
    slug = "bad-argument"
    template: str
    span: Span
    takes: tuple[tuple[str, str], ...]
    declared: Span
    given: int
    wrong: tuple[str, str] | None = None

    def diagnostic(self) -> Diagnostic:
        """The facts as a message. `takes`: (parameter, kind); `wrong`: the parameter whose argument `span`
        is, and the kind it has to be; None when there are too many or too few."""
        listed = ", ".join(f"{name}: {kind}" for name, kind in self.takes)
        signature = (self.declared, f"{self.template}({listed})")
        if self.wrong is None:
            return self.make(
                f"`{self.template}` takes {len(self.takes)} argument{'s' * (len(self.takes) != 1)}",
                (self.span, f"{self.given} given"),
                signature,
            )
        name, kind = self.wrong
        return self.make(
            f"`{self.span.text}` does not fit the parameter `{name}` of `{self.template}`",
            (self.span, f"expected {_article(kind)}"),
            signature,
        )


def _article(kind: str) -> str:
    return kind if kind == "ports" else f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
