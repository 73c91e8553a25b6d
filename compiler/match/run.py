"""What a match program means: the first match that holds decides.

The reference for everything behind it. Knows facts (`decode`) and the contents of dynamic sets.
"""

from __future__ import annotations

from collections.abc import Mapping

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.decode.frame import Facts, Malformed
from lockgate.stdlib_bpf.state.fragments import Fragment
from lockgate.stdlib_bpf.state.limits import Buckets

from ..decision import DEFAULT, Decision, Seen, before_rules
from ..policy.model import Prefixes
from .ir import Match, MatchProgram

NOTHING = Prefixes()


def run(
    program: MatchProgram,
    facts: Seen,
    live: Mapping[str, Prefixes],
    buckets: Buckets | None = None,
) -> Decision:
    """Decide one packet or socket call. `live`: contents of dynamic sets by name; absent means empty.
    `buckets`: of limits, None for full ones."""
    if isinstance(facts, Malformed | Fragment):
        return before_rules(facts, program.hook)
    buckets = Buckets() if buckets is None else buckets
    passed: list[int] = []
    following = 0  # index of the first rule that may be tried
    for match in program.matches:
        if match.rule < following or not holds(match, facts, live):
            continue
        index, rule = match.rule, program.rules[match.rule]
        following = index + 1
        if rule.limit is not None and not buckets.admit(index, rule.limit, facts):
            continue
        if not rule.passing:
            return Decision(rule.verdict, index, tuple(passed))
        passed.append(index)
        following = following if rule.resume is None else rule.resume
    return Decision(program.default, DEFAULT, tuple(passed))


def holds(match: Match, facts: Facts, live: Mapping[str, Prefixes]) -> bool:
    """Whether every test of a match holds; a test of a missing field does not."""
    for name, values in match.tests:
        value = value_of(name, facts, live)
        if value is None or value not in values:
            return False
    return True


def value_of(name: str, facts: Facts, live: Mapping[str, Prefixes]) -> int | None:
    """Value of a field or live field, None where it is missing."""
    split = fields.split_live(name)
    if split is None:
        return facts.get(name)
    field, set_name = split
    address = facts.get(field)
    if address is None:
        return None
    return int(member(field, address, live.get(set_name, NOTHING)))


def member(field: str, address: int, contents: Prefixes) -> bool:
    """Whether an address of that field's family is in the contents of a dynamic set."""
    return address in (contents.v6 if field.startswith("ip6.") else contents.v4)
