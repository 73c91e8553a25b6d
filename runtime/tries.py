"""A dynamic set's tries in the kernel (`stdlib_bpf.state.live`): the slot, and what is in force behind it.

A trie is made and filled before it is put into the slot, by one pointer; programs that run meanwhile see the
old one or the new one, and it is gone when the last of them has ended. When one prefix changes, the ends of
those that it covers follow, and no others are looked at. Knows descriptors and tokens (`prefixes`), no pins
and no policies. BpfError when the kernel refuses.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import NamedTuple

from lockgate.stdlib_bpf.lpm_key import BPF_F_NO_PREALLOC, BPF_MAP_TYPE_LPM_TRIE
from lockgate.stdlib_bpf.manifest import Map
from lockgate.stdlib_bpf.state.live import (
    BPF_MAP_TYPE_ARRAY_OF_MAPS,
    MEMBER,
    NEVER,
    OVER,
    SLOT,
    SLOT_BYTES,
    holds,
    later,
)

from .expiry import covers, effective
from .prefixes import is_host, key_of, keys_of, token_of_key
from .sys import bpf
from .sys.fd import Fd

_BATCH, _FEW = 1 << 14, 1 << 8
_SLOT_KEY = SLOT.to_bytes(SLOT_BYTES, "little")
_VALUE = struct.Struct("<QQ")  # MEMBER, quickly
assert _VALUE.size == MEMBER.size


class Entry(NamedTuple):
    """A prefix, when it really ends, and its own end."""

    token: bytes
    until_ns: int
    own_ns: int


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


def fill(trie: Fd, own: Mapping[bytes, int]) -> None:
    """Put prefixes of one family with their own ends into an empty trie: neighbours together, which is
    quickest, and as many batches at a time as there are processors."""
    tokens = sorted(own)
    until = effective(own) if any(own.values()) else None

    def write(at: int) -> None:
        part = tokens[at : at + _BATCH]
        values = (
            bytes(MEMBER.size * len(part))  # all for ever
            if until is None
            else b"".join([_VALUE.pack(until[token], own[token]) for token in part])
        )
        bpf.map_update_batch(trie, keys_of(part), values, len(part))

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for _ in pool.map(write, range(0, len(tokens), _BATCH)):
            pass  # raises what a batch raised


def entries(trie: Fd, spec: Map, after: bytes | None = None, count: int = _BATCH) -> Iterator[Entry]:
    """All entries, or those behind one, in the trie's own order: a prefix comes behind all that it covers,
    and of two others the lower one first. `count`: so many are read at a time."""
    key = None if after is None else key_of(after)
    for keys, values in bpf.map_batches(trie, spec.key_size, spec.value_size, count, key):
        for number, (until, own) in enumerate(_VALUE.iter_unpack(values)):
            at = number * spec.key_size
            yield Entry(token_of_key(keys[at : at + spec.key_size]), until, own)


def add(trie: Fd, spec: Map, token: bytes, own_ns: int = NEVER) -> None:
    """Add one prefix, or give it another end. ENOSPC when the trie is full."""
    until = NEVER if own_ns == NEVER else later(own_ns, _around(trie, token))
    _write(trie, Entry(token, until, own_ns))
    if not is_host(token):
        _follow(trie, spec, token, until)


def delete(trie: Fd, spec: Map, token: bytes) -> bool:
    """Remove one prefix; whether it was there. What it covered is looked at in any case: an earlier removal
    may have been cut short."""
    there = bpf.map_delete(trie, key_of(token))
    if not is_host(token):
        _follow(trie, spec, token, _around(trie, token))
    return there


def sweep(trie: Fd, spec: Map, now_ns: int) -> int:
    """Remove what has ended by itself, which changes no answer; returns how many those were."""
    over = [e.token for e in entries(trie, spec) if not holds(e.own_ns, now_ns)]
    return sum(bpf.map_delete(trie, key_of(token)) for token in over)


def _write(trie: Fd, entry: Entry) -> None:
    bpf.map_update(trie, key_of(entry.token), _VALUE.pack(entry.until_ns, entry.own_ns))


def _around(trie: Fd, token: bytes) -> int:
    """When the last of those ends that cover a prefix and are wider."""
    if not token[-1]:
        return OVER
    return _until(trie, token[:-1] + bytes((token[-1] - 1,)))


def _until(trie: Fd, token: bytes) -> int:
    """When the last of those ends that cover a prefix, itself included."""
    value = bpf.map_lookup(trie, key_of(token), MEMBER.size)  # of the narrowest, as a program finds it
    return OVER if value is None else int(_VALUE.unpack(value)[0])


def _follow(trie: Fd, spec: Map, token: bytes, until_ns: int) -> None:
    """Give those that a prefix covers the ends that follow from `until_ns` around them."""
    covered = _covered(trie, spec, token)
    ends = effective({entry.token: entry.own_ns for entry in covered}, until_ns)
    for entry in covered:
        if ends[entry.token] != entry.until_ns:
            _write(trie, entry._replace(until_ns=ends[entry.token]))


def _covered(trie: Fd, spec: Map, token: bytes) -> list[Entry]:
    """The entries that a prefix covers that is no host, without itself. The trie's order is entered at the
    lowest host of the prefix, in front of all that it covers; where that is no entry, it is one for so long,
    with the end of what covers it, so no answer changes. A trie that has no room for it is read from its
    beginning."""
    host = token[:-1] + bytes((8 * (len(token) - 1),))
    found = []
    start, marked = None, False
    if _refuses_what_is_there():
        try:
            value = _VALUE.pack(_until(trie, host), OVER)
            bpf.map_update(trie, key_of(host), value, bpf.NOEXIST)
            start, marked = host, True
        except bpf.BpfError as error:
            if error.errno == errno.EEXIST:
                start = host
                value = bpf.map_lookup(trie, key_of(host), MEMBER.size) or bytes(MEMBER.size)
                found.append(Entry(host, *_VALUE.unpack(value)))
            elif error.errno != errno.ENOSPC:
                raise
    try:
        for entry in entries(trie, spec, start, _FEW):
            if covers(token, entry.token):
                found.append(entry)
            elif start is not None:
                break
    finally:
        if marked:
            bpf.map_delete(trie, key_of(host))
    return [entry for entry in found if entry.token != token]


@cache
def _refuses_what_is_there() -> bool:
    """Whether this kernel's tries know BPF_NOEXIST (Linux 6.13); before, it is ignored."""
    with bpf.map_create(BPF_MAP_TYPE_LPM_TRIE, 8, 1, 2, BPF_F_NO_PREALLOC, "noexist") as trie:
        bpf.map_update(trie, bytes(8), b"\0")
        try:
            bpf.map_update(trie, bytes(8), b"\0", bpf.NOEXIST)
        except bpf.BpfError as error:
            return error.errno == errno.EEXIST
        return False
