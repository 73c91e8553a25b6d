"""Options of a rule to values: rates, bursts and what a bucket is kept for.

Knows units; must never know conditions or how a limit is enforced (`stdlib_bpf.state.limits`).
"""

from __future__ import annotations

import re
from datetime import date

from lockgate.stdlib_bpf import fields, hooks
from lockgate.stdlib_bpf.state.limits import PER, SECOND_NS, TIME_UNITS_NS, Limit

from .. import errors
from ..diagnostics import Sink
from ..syntax import tree as t
from .model import Deadline

MAX_RATE, MAX_BURST, MAX_SAMPLE = 10**12, 1 << 32, 1 << 31
MAX_FILL_NS = 1 << 62  # time in which a bucket fills: a century and a half
_RATE = re.compile(r"(?P<number>\d+)(?P<prefix>[kMG]?)(?P<unit>/s|/m|/h|pps|bps)")
_PREFIX = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
# unit → (what is counted, period in ns); a bit a second is a byte in eight
_UNITS = {
    "/s": ("packets", SECOND_NS),
    "/m": ("packets", 60 * SECOND_NS),
    "/h": ("packets", 3600 * SECOND_NS),
    "pps": ("packets", SECOND_NS),
    "bps": ("bytes", 8 * SECOND_NS),
}
_ADDRESS_OF = {"source": "ip4.src", "destination": "ip4.dst", "flow": "ip4.src"}
_WIDTHS = (32, 128)


def duration_ns(text: str) -> int:
    """The ns of a duration such as `200ms`, `3h`."""
    number = text.rstrip("hmsd")
    return int(number[:12]) * TIME_UNITS_NS[text[len(number) :]]


class OptionReader:
    """Checks options."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink

    def limit(self, node: t.Limit, hook: hooks.Hook) -> Limit | None:
        """The limit that an option asks for; None after a complaint."""
        if isinstance(node.rate, t.Name):
            self._complain(errors.UnknownName("rate", node.rate.text, node.rate.span, ()))
            return None
        match = _RATE.fullmatch(node.rate.text)
        assert match is not None  # the lexer says so
        unit, period_ns = _UNITS[match["unit"]]
        number = int(match["number"][:20]) * _PREFIX[match["prefix"]]
        if not 1 <= number <= MAX_RATE:
            self._complain(errors.OutOfRange(f"rate {node.rate.text}", node.rate.span, 1, MAX_RATE))
            return None
        if unit == "bytes" and hook.target == "cgroup":
            self._complain(errors.NotAtHook("a limit in bits", hook.name, node.rate.span))
            return None
        burst = max(1, number * SECOND_NS // period_ns) if unit == "bytes" else number
        if node.burst is not None:
            if not self._in_range("a burst", node.burst, 1, MAX_BURST):
                return None
            burst = node.burst.value
        if burst * period_ns // number > MAX_FILL_NS:
            span = node.span if node.burst is None else node.burst.span
            self._complain(
                errors.OutOfRange("a burst at this rate", span, 1, MAX_FILL_NS * number // period_ns)
            )
            return None
        limit = Limit(number, period_ns, burst, unit)
        return limit if node.per is None else self._per(node, node.per, limit, hook)

    def _per(self, node: t.Limit, per: t.Name, limit: Limit, hook: hooks.Hook) -> Limit | None:
        if per.text not in PER:
            known = tuple((name, None) for name in PER)
            self._complain(errors.UnknownName("key of a limit", per.text, per.span, known))
            return None
        if hook.name not in fields.lookup(_ADDRESS_OF[per.text]).hooks:
            self._complain(errors.NotAtHook(f"per {per.text}", hook.name, per.span))
            return None
        bits = list(_WIDTHS)
        for i, length in enumerate(node.lengths):
            if not self._in_range("a prefix length", length, 0, _WIDTHS[i]):
                return None
            bits[i] = length.value
        return Limit(limit.count, limit.period_ns, limit.burst, limit.unit, per.text, *bits)

    def sample(self, node: t.Log) -> int:
        """Of how many packets one sends an event; 1 after a complaint."""
        if node.sample is None or not self._in_range("a sample", node.sample, 1, MAX_SAMPLE):
            return 1
        return node.sample.value

    def deadline(self, node: t.Expires) -> Deadline | None:
        """The last day of a rule; None after a complaint."""
        try:
            date.fromisoformat(node.date.text)
        except ValueError:
            self._complain(errors.BadDate(node.date.span))
            return None
        return Deadline(node.date.text, node.span)

    def _in_range(self, what: str, number: t.Number, low: int, high: int) -> bool:
        if low <= number.value <= high:
            return True
        self._complain(errors.OutOfRange(f"{what} of {number.span.text}", number.span, low, high))
        return False

    def _complain(self, error: errors.Finding) -> None:
        self.sink.add(error.diagnostic())
