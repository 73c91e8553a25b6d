"""W0530: default-drops-neighbours."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding

RULES = {
    "ARP": "{action} arp",
    "neighbour discovery": "{action} icmp6 type {{ neighbour-solicit, neighbour-advert }}",
}


@dataclass(frozen=True)
class DefaultDropsNeighbours(Finding):
    """`default drop` also drops the packets that find the next hop.

    ## What it means

    At xdp and tc, ARP and neighbour discovery are packets like others. The policy lets IPv4 or IPv6 packets
    through, no rule speaks of the protocol that finds their receivers, and so its packets meet the default.

    ## Why it matters

    The policy works until the neighbours' entries expire, some minutes later. Then nothing arrives, and no
    rule seems to be the reason. To drop them on purpose, write so: `drop arp`.

    ## Example

        policy edge at xdp on "eth0" {
          default   drop
          fragments first-only
          pass tcp to port 22
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   drop
          fragments first-only
          pass arp
          pass icmp6 type { neighbour-solicit, neighbour-advert }
          pass tcp to port 22
        }
    """

    code = "W0530"
    slug = "default-drops-neighbours"
    hook: str
    direction: str
    span: Span
    protocols: tuple[tuple[str, str], ...]
    action: str
    place: Span | None = None

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        names = " and ".join(name for name, _ in self.protocols)
        where = f"{self.hook} {self.direction}".strip()
        rules = [RULES[name].format(action=self.action) for name, _ in self.protocols]
        return self.make(
            f"`default drop` at {where} also drops {names}",
            (self.span, "no rule speaks of them" if len(rules) > 1 else "no rule speaks of it"),
            notes=["without it the kernel does not find the next hop: nothing arrives after some minutes"],
            witness=f"{self.protocols[0][1]}   drop by default",
            help=[
                f"write {' and '.join(f'`{rule}`' for rule in rules)}",
                "or the same with `drop`, if that is meant",
            ],
            fixes=[Fix(self.place, "".join(f"\n  {r}" for r in rules))] if self.place else [],
        )
