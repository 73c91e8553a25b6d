"""Rules with a last day: which of them hold on the day for which a policy is compiled.

The day is given, never read from a clock. A rule that lets traffic through leaves when its time is over, and
says so; a rule that stops traffic stays, and is an error, since nobody would notice that it has left. Knows
days and verdicts; must never know what a rule matches.
"""

from __future__ import annotations

from datetime import date

from .. import errors
from ..diagnostics import Sink
from .model import Rule

BLOCKING = frozenset({"drop", "reject"})
SOON = 14  # days


class Expiry:
    """Judges rules for one day; without one, every rule holds, and that is said once."""

    def __init__(self, now: date | None, sink: Sink) -> None:
        self.now, self.sink = now, sink
        self._said = False

    def holds(self, rule: Rule) -> bool:
        """Whether a rule is part of the policy."""
        if rule.deadline is None:
            return True
        if self.now is None:
            if not self._said:
                self._complain(errors.NoDate(rule.deadline.span))
            self._said = True
            return True
        left = (date.fromisoformat(rule.deadline.day) - self.now).days
        facts = (rule.verdict, rule.deadline.day, rule.deadline.span, rule.span, rule.ticket)
        if left < 0 and rule.verdict in BLOCKING:
            self._complain(errors.ExpiredDeny(*facts))
        elif left < 0:
            self._complain(errors.ExpiredAllow(*facts))
        elif left <= SOON:
            self._complain(errors.ExpiresSoon(*facts, left))
        return left >= 0 or rule.verdict in BLOCKING

    def _complain(self, error: errors.Finding) -> None:
        self.sink.add(error.diagnostic())
