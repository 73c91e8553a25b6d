"""A dynamic set's tries in the kernel (`stdlib_bpf.state.live`): the slot, and what is in force behind it.

A trie is made and filled before it is put into the slot, by one pointer; programs that run meanwhile see the
old one or the new one, and it is gone when the last of them has ended. Knows descriptors and tokens
(`prefixes`), no pins and no policies. BpfError when the kernel refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lockgate.stdlib_bpf.manifest import Map
from lockgate.stdlib_bpf.state.live import BPF_MAP_TYPE_ARRAY_OF_MAPS, MEMBER, SLOT, SLOT_BYTES

from .prefixes import key_of, token_of_key
from .sys import bpf
from .sys.fd import Fd

_BATCH = 1 << 16
_SLOT_KEY = SLOT.to_bytes(SLOT_BYTES, "little")


def make(spec: Map) -> Fd:
    """A new, empty trie of a set. `spec`: its row of the manifest."""
    return bpf.map_create(
        spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.flags, spec.set or spec.name
    )


def make_slot(trie: Fd, name: str) -> Fd:
    """A slot with a trie in it."""
    slot = bpf.map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, SLOT_BYTES, SLOT_BYTES, SLOT + 1, 0, name, trie)
    try:
        switch(slot, trie)
    except BaseException:
        slot.close()
        raise
    return slot


def switch(slot: Fd, trie: Fd) -> None:
    """Put a trie in force. Returns when no program uses the one before any more."""
    bpf.map_update(slot, _SLOT_KEY, trie.number.to_bytes(SLOT_BYTES, "little"))


def in_force(slot: Fd) -> int:
    """The kernel's number (map id) of the trie in a slot."""
    return int.from_bytes(bpf.map_lookup(slot, _SLOT_KEY, SLOT_BYTES) or b"", "little")


def fill(trie: Fd, tokens: Sequence[bytes]) -> None:
    """Add prefixes, most quickly when they are sorted."""
    for at in range(0, len(tokens), _BATCH):
        part = tokens[at : at + _BATCH]
        bpf.map_update_batch(trie, b"".join(map(key_of, part)), MEMBER * len(part), len(part))


def tokens(trie: Fd, spec: Map) -> Iterator[bytes]:
    """All prefixes, in the trie's own order."""
    for keys, _ in bpf.map_batches(trie, spec.key_size, spec.value_size, _BATCH):
        for at in range(0, len(keys), spec.key_size):
            yield token_of_key(keys[at : at + spec.key_size])


def add(trie: Fd, token: bytes) -> None:
    """Add one prefix. ENOSPC when the trie is full."""
    bpf.map_update(trie, key_of(token), MEMBER)


def delete(trie: Fd, token: bytes) -> bool:
    """Remove one prefix; whether it was there."""
    return bpf.map_delete(trie, key_of(token))
