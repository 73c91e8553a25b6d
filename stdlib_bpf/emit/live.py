"""Emits look-ups in dynamic sets (`stdlib_bpf.state.live`): find the trie, then ask it."""

from __future__ import annotations

from ..state.live import SLOT
from .llvm import NULL, Function, Label, Value, const
from .tables import BPF_MAP_LOOKUP_ELEM, found, trie_key


def trie(f: Function, name: str, missing: Label) -> Value:
    """The trie that is in force (ptr). `missing`: where to go when the slot is empty, which no loader leaves
    so; the verifier cannot know that."""
    there, slot = f.label("trie"), f.room(4)
    f.store(const("i32", SLOT), slot)
    entry = f.call_helper(BPF_MAP_LOOKUP_ELEM, "ptr", Value("ptr", f"@{name}"), slot)
    f.branch(f.compare("ne", entry, NULL), there, missing, likely=True)
    f.place(there)
    return entry


def member(f: Function, trie: Value, key: Value, width: int, yes: Label, no: Label) -> None:
    """Jump to `yes` when a prefix of the trie covers the key, else to `no`."""
    found(f, f.call_helper(BPF_MAP_LOOKUP_ELEM, "ptr", trie, trie_key(f, key, width)), yes, no)
