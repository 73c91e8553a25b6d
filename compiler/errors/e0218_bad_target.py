"""E0218: bad-target."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic, Fix
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class BadTarget(Finding):
    """A name that no interface or cgroup can have.

    ## What it means

    Device names have at most 15 bytes, no blanks and no colons; `"NAMESPACE/DEVICE"` addresses another
    network namespace. Cgroups are paths below the root of cgroup2, such as `"/system.slice"`.

    ## Why it matters

    It would only fail when the policy is loaded, on some machine, later.

    ## Example

        policy edge at xdp on "a-name-far-too-long" {
          default   drop
          fragments first-only
        }

    ## Instead

        policy edge at xdp on "eth0" {
          default   drop
          fragments first-only
        }
    """

    code = "E0218"
    slug = "bad-target"
    kind: str
    text: str
    span: Span
    reason: str

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        rooted = self.kind == "cgroup" and not self.text.startswith("/") and "\0" not in self.text
        return self.make(
            f"`{self.text}` is no name of {'an interface' if self.kind == 'interface' else 'a cgroup'}",
            (self.span, self.reason),
            fixes=[Fix(self.span, f'"/{self.text}"')] if rooted else [],
        )
