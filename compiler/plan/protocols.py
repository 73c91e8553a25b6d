"""A list as packets of one transport protocol see it: fewer matches, and none that asks for the protocol.

The decoder has told TCP from UDP already, so a processor foresees the branch that tells them apart again.
Knows matches as `specialise` leaves them.
"""

from __future__ import annotations

from collections.abc import Sequence

from lockgate.stdlib_bpf.sets import IntervalSet

from .order import PROTOCOL_SHARE
from .specialise import L4_PROTO, Conjunction

APART = tuple(sorted(PROTOCOL_SHARE))  # one kind of packet each, then all others
KINDS: tuple[int | None, ...] = (*APART, None)
SPARED = 12.0  # matches that a packet must be spared; the branch costs as much as some of them
MOST = 1_000  # matches; lists grow by what is said of several protocols


def narrowed(conjunctions: Sequence[Conjunction], protocol: int | None) -> list[Conjunction]:
    """The matches as packets see them that have a transport header of this protocol, or of no kind that goes
    apart."""
    found = (_of_one(one, protocol) if protocol is not None else _of_others(one) for one in conjunctions)
    return [one for one in found if one is not None]


def worthwhile(conjunctions: Sequence[Conjunction]) -> bool:
    """Whether packets are spared enough matches."""
    return met(conjunctions) < len(conjunctions)


def met(conjunctions: Sequence[Conjunction]) -> float:
    """How many matches a packet goes past that none of them takes: all, where kinds do not go apart."""
    if len(conjunctions) > MOST:
        return len(conjunctions)
    rest = 1 - sum(PROTOCOL_SHARE.values())
    mean = sum(len(narrowed(conjunctions, p)) * (PROTOCOL_SHARE[p] if p else rest) for p in KINDS)
    return mean if len(conjunctions) - mean >= SPARED else len(conjunctions)


def _of_one(one: Conjunction, protocol: int) -> Conjunction | None:
    tests = []
    for name, values in one.tests:
        if name not in ("ip.proto", L4_PROTO):
            tests.append((name, values))
        elif protocol not in values:
            return None
    return Conjunction(one.rule, tuple(tests))


def _of_others(one: Conjunction) -> Conjunction | None:
    apart = IntervalSet.from_ranges((protocol, protocol) for protocol in APART)
    tests = [(name, values - apart if name == L4_PROTO else values) for name, values in one.tests]
    return Conjunction(one.rule, tuple(tests)) if all(values for _, values in tests) else None
