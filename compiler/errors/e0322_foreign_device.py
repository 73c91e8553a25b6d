"""E0322: foreign-device."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class ForeignDevice(Finding):
    """A device that packets are sent to lies in another network namespace than the policy's interfaces.

    ## What it means

    The kernel looks for the device in the namespace where the packet is. `"lab/eth0"` is a device of the
    namespace `lab`; a device without a namespace is one of the namespace that the policy's interfaces are in.

    ## Why it matters

    A program has one number for a device, and numbers mean something else in every namespace.

    ## Example

        policy lab at tc on "lab/eth0" {
          default allow
          ingress { redirect arp into "other/eth2" }
        }

    ## Instead

        policy lab at tc on "lab/eth0" {
          default allow
          ingress { redirect arp into "lab/eth2" }
        }
    """

    code = "E0322"
    slug = "foreign-device"
    span: Span
    namespaces: tuple[str, ...]

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        listed = ", ".join(f"`{name}`" for name in self.namespaces)
        return self.make(
            "the devices of one policy must lie in one network namespace",
            (self.span, f"namespaces here: {listed}"),
            help=[
                "write a policy for each namespace; into another one, redirect to a veth device whose peer "
                "lies there, `as peer`"
            ],
        )
