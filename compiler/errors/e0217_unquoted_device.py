"""E0217: unquoted-device."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Candidates, Finding, nearest


@dataclass(frozen=True)
class UnquotedDevice(Finding):
    """A bare word stands where an interface is needed.

    ## What it means

    Names of devices are quoted, names from `interface` declarations are not.

    ## Why it matters

    A misspelt declaration must not become a device that does not exist.

    ## Example

        policy edge at xdp on eth0 {
          default   drop
          fragments first-only
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   drop
          fragments first-only
        }
    """

    code = "E0217"
    slug = "unquoted-device"
    name: str
    span: Span
    known: Candidates = ()

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        near = nearest(self.name, self.known)
        also = [f"or did you mean the interface `{near[0]}`?"] if near else []
        quoted = f'"{self.name}"'
        return self.make(
            f"no interface `{self.name}` is declared",
            (self.span, "names of devices are quoted"),
            help=[f'write `"{self.name}"` for the device of that name', *also],
            fixes=[Fix(self.span, quoted, sure=True)]
            if near is None
            else [Fix(self.span, near[0]), Fix(self.span, quoted)],
        )
