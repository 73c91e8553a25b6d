"""E0324: proxy-to-itself."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class ProxyToItself(Finding):
    """A policy sends calls to a proxy that makes all of them itself.

    ## What it means

    The policy is for a cgroup that is the proxy's own, or lies in it. What a proxy calls is never sent to it.

    ## Why it matters

    The rule would match nobody, and look as if it did.

    ## Example

        proxy envoy = port 15001 in cgroup "/mesh"

        policy mesh at connect for cgroup "/mesh/shop" {
          default allow
          redirect tcp to any port 80 via envoy
        }

    ## Instead

        proxy envoy = port 15001 in cgroup "/mesh/envoy"

        policy mesh at connect for cgroup "/mesh/shop" {
          default allow
          redirect tcp to any port 80 via envoy
        }
    """

    code = "E0324"
    slug = "proxy-to-itself"
    span: Span
    proxy: str
    cgroup: str

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        return self.make(
            f"every call of this policy comes from proxy `{self.proxy}` itself",
            (self.span, f"it runs in `{self.cgroup}`"),
            help=["name the proxy's own cgroup in its declaration, or a wider one in the policy"],
        )
