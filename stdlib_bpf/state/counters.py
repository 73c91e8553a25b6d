"""Counters: one slot of a per-CPU array each.

Slot 0 counts malformed packets, slot 1 what fell to the default, slot 2+i what rule i matched, and the named
counters (`count NAME`) follow, sorted by name. A rule with a named counter adds to both.
"""

from __future__ import annotations

from ..layout import Struct, packed

MALFORMED, DEFAULT, FIRST_RULE = 0, 1, 2
DECIDING = frozenset(
    {
        "malformed",
        "default",
        "rule",
        "fragments",
        "known flow",
        "invalid state",
        "foreign source",
        "not judged",
    }
)  # kinds of slot that say who decided, or let it go on

# bytes: length of the frame as the hook sees it; stays 0 at connect.
COUNTER: Struct = packed("counter", ("packets", 8), ("bytes", 8))
