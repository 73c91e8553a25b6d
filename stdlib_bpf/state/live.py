"""Dynamic sets in the kernel: a slot that holds a trie.

A program finds the trie of a set and family in slot SLOT of an array of maps, and asks that trie
(`tables.lpm_trie` lays keys out). One prefix is changed in the trie; a whole list is a new trie, which takes
the old one's place by one pointer: every look-up sees the old list or the new one. A program that asks a set
more than once for a packet fetches its trie only once. Generated code: `emit.live`.
"""

from __future__ import annotations

BPF_MAP_TYPE_ARRAY_OF_MAPS = 12
SLOT, SLOT_BYTES = 0, 4  # in host order, as are the values: descriptors to write, kernel's numbers to read
MEMBER = b"\1"  # the value of every entry
