"""The data planes that a policy can be built for: one record a file, one table."""

from __future__ import annotations

from pathlib import Path

from ..diagnostics import Sink
from ..driver import Options, Session
from . import bpf, hns, nftables
from .base import CAPABILITIES, Target

ALL: dict[str, Target] = {target.name: target for target in (bpf.TARGET, nftables.TARGET, hns.TARGET)}
DEFAULT = bpf.TARGET.name


def build(path: Path, target: str, options: Options, sink: Sink) -> bytes:
    """A policy file, built for a target; warnings go to `sink`. PolicyError when it has errors."""
    with Session(path, options, sink) as session:
        ALL[target].begin(session)
        session.analyse(ALL[target].check)
        return ALL[target].build(session)


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
