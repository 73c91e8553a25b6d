"""E0308: hook-target."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding


@dataclass(frozen=True)
class HookTarget(Finding):
    """A policy is put where its hook cannot be.

    ## What it means

    XDP and tc belong to interfaces, connect belongs to a cgroup.

    ## Why it matters

    There is nothing that such a policy could be attached to.

    ## Example

        policy out at connect on "eth0" {
          default allow
        }

    ## Instead

        policy out at connect for cgroup "/app" {
          default allow
        }
    """

    code = "E0308"
    slug = "hook-target"
    hook: str
    target: str
    span: Span

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        form = 'on "INTERFACE"' if self.target == "interface" else 'for cgroup "/PATH"'
        return self.make(
            f"a policy at {self.hook} is for {'interfaces' if self.target == 'interface' else 'cgroups'}",
            (self.span, "wrong kind of target"),
            help=[f"write `at {self.hook} {form}`"],
        )
