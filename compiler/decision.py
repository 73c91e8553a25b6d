"""What every meaning of a policy answers: the verdict and the rule that decided.

Shared by all interpreters (`policy.decide`, `match.run`, `plan.run`), so that answers compare as values.
"""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT = -1  # `Decision.rule` where no rule matched
MALFORMED = -2  # `Decision.rule` of a frame that is decided before any rule


@dataclass(frozen=True)
class Decision:
    """`verdict`: action of the hook, such as "drop"; `rule`: index in the chain's rule list, DEFAULT or
    MALFORMED; `passed`: rules that matched before it and let the packet go on, ascending."""

    verdict: str
    rule: int
    passed: tuple[int, ...] = ()
