"""The match IR: an ordered list of matches, the first that holds decides.

A rule may let the packet go on instead (`continue`, or its limit is exhausted); then its other matches are
passed over, so that a rule is tried once for a packet, and those of the next rule follow; or, behind a rule
that says so (`pass` leaves a tier), those from a later rule on.

A match is a conjunction of tests, one per field: the field's value lies in a set. A field that the packet
lacks satisfies no test. Tests carry their guards (`fields.Field.guards`) explicitly, so one match never spans
two families unless it names both in `eth.type`. Passes map programs to programs of equal meaning: same
verdict *and* same deciding rule for every packet.
"""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.stdlib_bpf.effects import NONE, Effects
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state.flows import AGAIN, STACK
from lockgate.stdlib_bpf.state.fragments import DEFAULT_MODE
from lockgate.stdlib_bpf.state.limits import Limit

from ..source import Span


@dataclass(frozen=True)
class RuleInfo:
    """What every later stage needs of a rule of the policy. Its index in `MatchProgram.rules` is its
    identity: counters, reports and line info rest on it. `line` counts from 1. `sample`, `limit`, `effects`
    as in `policy.model.Rule`; `passing`: its verdict is none, the next rule is tried, or the one with the
    index `resume`. `lasts`: at an endpoint, what it makes, of `flows.LASTS`."""

    label: str
    verdict: str
    file: str
    line: int
    column: int = 1
    name: str | None = None
    count: str | None = None
    sample: int = 0
    limit: Limit | None = None
    effects: Effects = NONE
    passing: bool = False
    resume: int | None = None
    lasts: str = AGAIN
    span: Span | None = None  # left out of the text form and of comparisons of it

    @property
    def final(self) -> bool:
        """Whether a packet that matches surely ends here."""
        return not self.passing and self.limit is None


@dataclass(frozen=True)
class Match:
    """`tests`: (field, values), in the order of `fields.sort_key`, no field twice, no set empty; `rule`:
    index of the rule that decides; `origins`: indices of all rules this match came from, ascending."""

    tests: tuple[tuple[str, IntervalSet], ...]
    rule: int
    origins: tuple[int, ...]

    def get(self, field: str) -> IntervalSet | None:
        """Values required of a field, None when it is not tested."""
        return next((values for name, values in self.tests if name == field), None)


@dataclass(frozen=True)
class MatchProgram:
    """One chain. `live`: dynamic sets it may name, with their maximal number of entries, sorted by name;
    `devices`: those that rules send packets to or ask about; `cgroups`: those that rules ask about, sorted;
    `fragments`: a mode of `stdlib_bpf.state.fragments`, which is settled before any match is asked;
    `forward`: one of `stdlib_bpf.state.flows.FORWARD`, which no verdict depends on;
    `selections`: what the fields `subject#N` and `peer#N` ask about, as text. Matches stand in the order of
    their rules."""

    name: str
    hook: str
    direction: str
    default: str
    rules: tuple[RuleInfo, ...]
    matches: tuple[Match, ...]
    live: tuple[tuple[str, int], ...] = ()
    devices: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()
    fragments: str = DEFAULT_MODE
    forward: str = STACK
    selections: tuple[str, ...] = ()
