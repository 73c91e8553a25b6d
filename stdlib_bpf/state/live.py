"""Dynamic sets in the kernel: a slot that holds a trie, whose entries may end.

A program finds the trie of a set and family in slot SLOT of an array of maps, and asks that trie
(`lpm_key` lays keys out). One prefix is changed in the trie; a whole list is a new trie, which takes
the old one's place by one pointer: every look-up sees the old list or the new one. A program that asks a set
more than once for a packet fetches its trie only once.

An entry holds until a time in ns of the programs' clock (`state.clock`), NEVER for no end. The trie answers
with the narrowest prefix that covers a key, which must not hide a wider one that holds longer: so `until_ns`
is the latest of the entry's own end and those of all wider entries that cover it. Its own stands beside it,
to go back to when a wider one is removed. Knows numbers; generated code: `emit.live`, upkeep:
`runtime.tries`.
"""

from __future__ import annotations

from ..layout import packed

BPF_MAP_TYPE_ARRAY_OF_MAPS = 12
SLOT, SLOT_BYTES = 0, 4  # in host order, as are the values: descriptors to write, kernel's numbers to read

MEMBER = packed("lockgate_member", ("until_ns", 8), ("own_ns", 8))
NEVER = 0
OVER = 1  # a time that every clock has passed: the end of what is not there


def later(a_ns: int, b_ns: int) -> int:
    """The later of two ends."""
    return NEVER if NEVER in (a_ns, b_ns) else max(a_ns, b_ns)


def holds(until_ns: int, now_ns: int) -> bool:
    """Whether an entry holds at a time."""
    return until_ns == NEVER or now_ns < until_ns
