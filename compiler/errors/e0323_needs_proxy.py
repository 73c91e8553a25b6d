"""E0323: needs-proxy."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class NeedsProxy(Finding):
    """A redirect at connect names no proxy, or one whose processes are not known.

    ## What it means

    At connect `redirect` sends a call to a local proxy, which it names with `via`. The proxy's own calls must
    go on to where they are for, so its declaration says in which cgroup it runs.

    ## Why it matters

    A proxy whose own calls came back to it would call itself for ever.

    ## Example

        proxy envoy = port 15001

        policy mesh at connect for cgroup "/mesh" {
          default allow
          redirect tcp to any port 80 via envoy
        }

    ## Instead

        proxy envoy = port 15001 in cgroup "/mesh/envoy"

        policy mesh at connect for cgroup "/mesh" {
          default allow
          redirect tcp to any port 80 via envoy
        }
    """

    code = "E0323"
    slug = "needs-proxy"
    span: Span
    proxy: str | None

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        if self.proxy is None:
            return self.make(
                "`redirect` needs a proxy at connect",
                (self.span, "where to?"),
                help=[
                    "end the rule with `via PROXY`, and declare that: proxy PROXY = port 15001 in cgroup …"
                ],
            )
        return self.make(
            f"the processes of proxy `{self.proxy}` are not known",
            (self.span, "its own calls would come back to it"),
            help=[f'say where it runs: proxy {self.proxy} = port … in cgroup "/path/of/it"'],
        )
