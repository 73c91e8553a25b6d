"""Windows HNS: access lists of endpoints, as a document. Never run on Windows."""

from __future__ import annotations

from lockgate import __version__
from lockgate.stdlib_bpf.inventory import Inventory

from .. import profile
from ..driver import Session
from ..hns import balance, document, endpoints, refusals
from ..hns.exceptions import EXCEPTIONS
from ..match.ir import MatchProgram
from ..match.residents import residents
from .base import Target, report


def check(session: Session) -> None:
    """Report what HNS cannot say."""
    lists = [(chain, session.optimised(chain)) for chain in session.unit.chains]
    found = refusals.refused(lists, session.inventory())
    report(session, "HNS", (*balance.refused(session.unit.balancers), *found))


def build(session: Session) -> bytes:
    """The document."""
    known = session.inventory() or Inventory()
    lists: list[tuple[tuple[str, ...], MatchProgram]] = []
    for chain in session.unit.chains:
        program = session.optimised(chain)
        if chain.hook == refusals.HOOK:
            found = endpoints.judged(program, residents(known, chain.selections))
            lists += [((one.endpoint,), one.program) for one in found]
        else:
            lists.append((chain.targets, program))
    return document.write(profile.name_of(session.unit), __version__, lists, session.unit.balancers).encode()


TARGET = Target(
    name="hns",
    about="access lists for endpoints of Windows' Host Networking Service, in a JSON document",
    takes="the match IR",
    suffix=".hns.json",
    capabilities={
        "hooks": "tc and, with an inventory, endpoints: an interface's name is an endpoint's; services",
        "actions": "`allow`, `pass`, `drop`",
        "conditions": "protocol, addresses, ports of TCP and UDP",
        "dynamic sets": "no",
        "`limit`": "no",
        "`count`": "no",
        "`log`": "no",
        "`mark`, `dscp`": "no",
        "`fragments`": "first-only; at endpoints Windows' affair",
        "malformed packets": "Windows' affair",
        "changes at one instant": "unknown",
        "counters": "no",
        "tested": "by an interpreter of ours; never run on Windows",
    },
    check=check,
    build=build,
    exceptions=tuple(EXCEPTIONS.values()),
)
