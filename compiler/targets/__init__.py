"""The data planes that a policy can be built for: one record a file, one table."""

from __future__ import annotations

from . import bpf, nftables
from .base import CAPABILITIES, Target

ALL: dict[str, Target] = {target.name: target for target in (bpf.TARGET, nftables.TARGET)}
DEFAULT = bpf.TARGET.name


def table() -> str:
    """What each can do, as a Markdown table, and what each does otherwise."""
    rows = [["", *ALL], ["---"] * (len(ALL) + 1), ["made from", *(t.takes for t in ALL.values())]]
    rows += [[name, *(t.capabilities[name] for t in ALL.values())] for name in CAPABILITIES]
    out = ["| " + " | ".join(row) + " |" for row in rows]
    for target in ALL.values():
        if target.exceptions:
            out += [
                "",
                f"Otherwise than the language says, at {target.name}:",
                "",
                "| packets | there |",
                "|---|---|",
            ]
            out += [f"| {row.packets} | {row.there} |" for row in target.exceptions]
    return "\n".join(out) + "\n"
