"""When entries of dynamic sets end: durations as people write them, and ends of prefixes in prefixes.

Times in ns of CLOCK_MONOTONIC, which is the clock of programs; it stands still while the machine sleeps.
Knows tokens (`prefixes`) and no kernel.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from lockgate.stdlib_bpf.state.limits import TIME_UNITS_NS
from lockgate.stdlib_bpf.state.live import OVER, later

from .errors import SetError

_DURATION = re.compile(rf"(\d{{1,12}})({'|'.join(TIME_UNITS_NS)})", re.ASCII)
_MOST_NS = 1 << 62


def now() -> int:
    """What the programs' clock says."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def duration(text: str) -> int:
    """A time span as the language writes it, in ns. SetError for anything else, and for none at all."""
    found = _DURATION.fullmatch(text)
    span = int(found[1]) * TIME_UNITS_NS[found[2]] if found else 0
    if not 0 < span <= _MOST_NS:
        raise SetError(
            f"`{text}` is no time span for an entry to stay",
            (
                f"it is a number above 0 and one of {', '.join(TIME_UNITS_NS)}",
                f"at most {_MOST_NS // TIME_UNITS_NS['d']}d",
            ),
            ("for example 90s, 30m or 12h; without one, an entry stays until it is removed",),
        )
    return span


def text_of(span_ns: int) -> str:
    """A time span in whole seconds, rounded up, so that reading it back never makes it shorter."""
    return f"{-(-span_ns // TIME_UNITS_NS['s'])}s"


def effective(own: Mapping[bytes, int], above_ns: int = OVER) -> dict[bytes, int]:
    """Token → when it really ends, given own ends: the latest of its own, of those that cover it, and of
    `above_ns`. Sorted, what covers a prefix comes before it."""
    found: dict[bytes, int] = {}
    around: list[tuple[bytes, int]] = [(b"\xff" * 16, above_ns)]  # (last address, end) of what is open
    for token in sorted(own):
        while token[:-1] > around[-1][0]:
            around.pop()
        found[token] = later(own[token], around[-1][1])
        if (last := last_address(token)) != token[:-1]:
            around.append((last, found[token]))
    return found


def last_address(token: bytes) -> bytes:
    """The highest address of a prefix, in network order."""
    size = len(token) - 1
    below = (1 << size * 8 - token[-1]) - 1
    return (int.from_bytes(token[:-1]) | below).to_bytes(size)


def covers(wide: bytes, narrow: bytes) -> bool:
    """Whether a prefix covers another, or is the same."""
    return wide[-1] <= narrow[-1] and wide[:-1] <= narrow[:-1] <= last_address(wide)
