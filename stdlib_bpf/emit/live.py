"""Emits look-ups in dynamic sets (`stdlib_bpf.state.live`): find the trie, ask it, look at the clock."""

from __future__ import annotations

from ..state.live import MEMBER, NEVER, SLOT
from .limits import clock
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
    """Jump to `yes` when a prefix of the trie covers the key and holds, else to `no`. Values are aligned to 4
    bytes: they lie behind keys."""
    entry = f.call_helper(BPF_MAP_LOOKUP_ELEM, "ptr", trie, trie_key(f, key, width))
    covered, ends = f.label("covered"), f.label("ends")
    found(f, entry, covered, no)
    f.place(covered)
    until = f.load("i64", f.gep(entry, MEMBER.offset("until_ns")), align=4)
    f.branch(f.compare("eq", until, NEVER), yes, ends, likely=True)
    f.place(ends)
    f.branch(f.compare("ult", clock(f), until), yes, no)
