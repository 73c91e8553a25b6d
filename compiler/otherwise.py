"""Packets that a data plane judges otherwise than the language says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """`packets`: which; `there`: what becomes of them at that plane, and why."""

    packets: str
    there: str
