"""Where a data plane and the language differ: what it judges otherwise, and what it cannot say."""

from __future__ import annotations

from dataclasses import dataclass

from .source import Span


@dataclass(frozen=True)
class Row:
    """`packets`: which; `there`: what becomes of them at that plane, and why."""

    packets: str
    there: str


@dataclass(frozen=True)
class Refusal:
    """`what` a plane cannot do, `why`, and what to do `instead`; all as a message has them."""

    span: Span
    what: str
    why: str
    instead: str
