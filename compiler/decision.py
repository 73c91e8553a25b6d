"""What every meaning of a policy answers: the verdict and the rule that decided.

Shared by all interpreters (`policy.decide`, `match.run`, `plan.run`), so that answers compare as values.
"""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.stdlib_bpf import hooks
from lockgate.stdlib_bpf.decode.frame import Facts, Malformed
from lockgate.stdlib_bpf.state import counters
from lockgate.stdlib_bpf.state.fragments import Fragment

DEFAULT = -1  # `Decision.rule` where no rule matched
MALFORMED = -2  # of a frame that is decided before any rule
FRAGMENT = -3  # of a fragment that is decided before any rule


@dataclass(frozen=True)
class Decision:
    """`verdict`: action of the hook, such as "drop"; `rule`: index in the chain's rule list, DEFAULT,
    MALFORMED or FRAGMENT; `passed`: rules that matched before it and let the packet go on, ascending."""

    verdict: str
    rule: int
    passed: tuple[int, ...] = ()


Seen = Facts | Malformed | Fragment
# Who decided where no rule did, as reports call it.
NO_RULE = {DEFAULT: "default", MALFORMED: "malformed", FRAGMENT: "fragments"}


def before_rules(seen: Malformed | Fragment, hook: str) -> Decision:
    """The answer to a packet that no rule is asked about."""
    return Decision(hooks.ALL[hook].malformed, MALFORMED if isinstance(seen, Malformed) else FRAGMENT)


def decider(kind: str, slot: int) -> int:
    """`Decision.rule` of a counter slot of that kind (`stdlib_bpf.state.counters`)."""
    named = {name: number for number, name in NO_RULE.items()}
    return named.get(kind, slot - counters.FIRST_RULE)
