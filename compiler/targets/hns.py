"""Windows HNS: access lists of endpoints, as a document. Never run on Windows."""

from __future__ import annotations

from lockgate import __version__

from .. import profile
from ..driver import Session
from ..hns import document, refusals
from ..hns.exceptions import EXCEPTIONS
from .base import Target, report


def check(session: Session) -> None:
    """Report what HNS cannot say."""
    lists = [(chain, session.optimised(chain)) for chain in session.unit.chains]
    report(session, "HNS", refusals.refused(lists))


def build(session: Session) -> bytes:
    """The document."""
    lists = [(chain.targets, session.optimised(chain)) for chain in session.unit.chains]
    return document.write(profile.name_of(session.unit), __version__, lists).encode()


TARGET = Target(
    name="hns",
    about="access lists for endpoints of Windows' Host Networking Service, in a JSON document",
    takes="the match IR",
    suffix=".hns.json",
    capabilities={
        "hooks": "tc, an interface's name being that of an endpoint",
        "actions": "`allow`, `pass`, `drop`",
        "conditions": "protocol, addresses, ports of TCP and UDP",
        "dynamic sets": "no",
        "`limit`": "no",
        "`count`": "no",
        "`log`": "no",
        "`mark`, `dscp`": "no",
        "`fragments`": "first-only",
        "malformed packets": "Windows' affair",
        "changes at one instant": "unknown",
        "counters": "no",
        "tested": "by an interpreter of ours; never run on Windows",
    },
    check=check,
    build=build,
    exceptions=tuple(EXCEPTIONS.values()),
)
