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
FOLLOWS = -4  # of a packet that follows a known flow
INVALID = -5  # of a packet that no state of its flow allows
SPOOFED = -6  # of a packet that an endpoint sends from an address that is not its own
FORWARDED = -8  # of a packet that follows a known flow, and need not go through the stack
UNJUDGED = -7  # of a packet that policies for endpoints do not speak about


@dataclass(frozen=True)
class Decision:
    """`verdict`: action of the hook, such as "drop"; `rule`: index in the chain's rule list, or one of the
    negative numbers above; `passed`: rules that matched before it and let the packet go on, ascending."""

    verdict: str
    rule: int
    passed: tuple[int, ...] = ()


Seen = Facts | Malformed | Fragment
# Who decided where no rule did, as reports and kinds of counter slots call it. No rule can be called like
# those with a blank.
NO_RULE = {
    DEFAULT: "default",
    MALFORMED: "malformed",
    FRAGMENT: "fragments",
    FOLLOWS: "known flow",
    INVALID: "invalid state",
    SPOOFED: "foreign source",
    UNJUDGED: "not judged",
    FORWARDED: "forwarded fast",
}


def before_rules(seen: Malformed | Fragment, hook: str) -> Decision:
    """The answer to a packet that no rule is asked about."""
    return Decision(hooks.ALL[hook].malformed, MALFORMED if isinstance(seen, Malformed) else FRAGMENT)


def decider(kind: str, slot: int) -> int:
    """`Decision.rule` of a counter slot of that kind (`stdlib_bpf.state.counters`)."""
    named = {name: number for number, name in NO_RULE.items()}
    return named.get(kind, slot - counters.FIRST_RULE)
