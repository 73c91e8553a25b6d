"""Policies for labels as lists of HNS endpoints: for each workload of an inventory that has an interface
here, which is called as the endpoint is.

Entries judge what opens a connection, for the switch follows flows. Knows inventories and the match IR; what
an entry is is `acl`'s affair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.labels import HOST, WORKLOAD
from lockgate.stdlib_bpf.sets import IntervalSet

from ..match.ir import Match, MatchProgram, RuleInfo
from ..match.residents import FAMILIES, WIDTHS, Lists, Resident, addresses
from ..match.straight import straight
from ..policy.targets import device_of

THE_HOST = "not judged: what this host begins"


@dataclass(frozen=True)
class Judged:
    """The list of an endpoint in one direction."""

    endpoint: str
    program: MatchProgram


def judged(program: MatchProgram, known: Sequence[Resident]) -> Iterator[Judged]:
    """All lists. `program`: for everybody. `straight.TooLong`."""
    lists, hosts = Lists(program, known), [one for one in known if one.entry.kind == HOST]
    here = [one for one in hosts if one.entry.interfaces]
    for one in known:
        if one.entry.kind != WORKLOAD or not one.entry.interfaces:
            continue
        for direction in fields.DIRECTIONS:
            found = straight(_opening(lists.of(one.selected & lists.subjects, direction)))
            if direction == "ingress":
                found = _let_in(found, here)
            yield Judged(device_of(one.entry.interfaces[0]), found)


def _opening(program: MatchProgram) -> MatchProgram:
    """A list for packets that open a flow."""
    kept = [match for match in program.matches if 1 in (match.get("flow.opens") or IntervalSet.of(1))]
    matches = (replace(m, tests=tuple(t for t in m.tests if t[0] != "flow.opens")) for m in kept)
    return replace(program, matches=tuple(matches))


def _let_in(program: MatchProgram, here: Sequence[Resident]) -> MatchProgram:
    """The list behind entries for what this host begins with its workloads, which no policy judges."""
    rule = RuleInfo(THE_HOST, "allow", "", 0)
    first = [
        Match((("eth.type", FAMILIES[family]), (f"ip{family}.src", own)), 0, (0,))
        for family in WIDTHS
        if (own := addresses((one.entry for one in here), family))
    ]
    later = [replace(m, rule=m.rule + 1, origins=tuple(o + 1 for o in m.origins)) for m in program.matches]
    return replace(program, rules=(rule, *program.rules), matches=(*first, *later))
