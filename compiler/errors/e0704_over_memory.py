"""E0704: over-memory."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import Diagnostic
from ..source import Span
from .base import Finding

SHOWN = 5  # tables that are named, the largest first


@dataclass(frozen=True)
class OverMemory(Finding):
    """The tables of a policy take more memory than `--max-memory` allows.

    ## What it means

    Large sets of addresses and ports lie in tables, and dynamic sets have room for all the entries they may
    get. Even with the smallest structure for each set, together they are larger than allowed. Sizes are
    predicted.

    ## Why it matters

    The kernel keeps all tables in memory that cannot be paged out, and while a policy is replaced the old
    ones and the new ones are there.

    ## Example (shell)

        lockgate build large.gate --max-memory 64K

    ## Instead

        policy edge at xdp on "eth0" {
          default pass  fragments first-only
          drop udp from { 10.0.0.0/8, 192.0.2.0/24 }
        }
    """

    code = "E0704"
    slug = "over-memory"
    span: Span  # of the policy
    needs: int
    most: int
    tables: tuple[tuple[Span, str, str, str | None, int, int], ...]  # place, rule, kind, set, ranges, bytes

    def diagnostic(self) -> Diagnostic:
        """The facts as a message."""
        largest = sorted(self.tables, key=lambda table: -table[5])[:SHOWN]
        notes = [
            f"{_size(size)} for "
            + (f"the dynamic set `{live}`" if live else f"{ranges:,} ranges")
            + f" of `{label}`, as {kind}"
            for _, label, kind, live, ranges, size in largest
        ]
        return self.make(
            f"the tables need {_size(self.needs)}, `--max-memory` allows {_size(self.most)}",
            (largest[0][0], f"the largest, {_size(largest[0][5])}") if largest else (self.span, "too large"),
            notes=notes,
            help=["allow more, take entries out, or lower `max` of dynamic sets"],
        )


def _size(count: int) -> str:
    return f"{-(-count // 1024):,} KiB"
