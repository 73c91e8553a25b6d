"""Dynamic sets of a loaded policy, changed while packets are judged.

A set has a trie for each family that the policy asks about (`tries`); a prefix of the other family is
refused, as it could never match. One prefix is one atomic change, in time that does not depend on the set;
several are one after the other. An entry may end at a time; then it is none any more, although it takes room
until room is needed. `load` and `flush` are one change each: a new trie is filled and takes the
old one's place. Whoever changes a set needs the lock of `pins.locked`, or an addition could go to a trie that
has just been replaced.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lockgate.stdlib_bpf.manifest import Map
from lockgate.stdlib_bpf.state.live import NEVER, holds

from . import expiry, pins, tries
from .errors import UNCHANGED, SetError
from .plan import map_key, trie_key
from .prefixes import Listing, Prefix, prefix_of, token_of
from .refusal import explain
from .running import Running
from .sys import bpf
from .sys.fd import Fd


@dataclass(frozen=True)
class Member:
    """A prefix that holds; `left_ns`: for how long, None without an end."""

    prefix: Prefix
    left_ns: int | None


@dataclass(frozen=True)
class _Family:
    """A set's half: its row of the manifest, its slot and the trie in force."""

    spec: Map
    slot: Fd
    trie: Fd


def names(running: Running) -> list[str]:
    """Names of the policy's dynamic sets, sorted."""
    return sorted({m.set for c in running.state.manifest.chains for m in c.maps if m.set is not None})


def capacity(running: Running, name: str) -> int:
    """How many prefixes of each family a set holds at most."""
    return max(m.max_entries for m in _maps(running, name).values())


def add(running: Running, name: str, prefixes: Iterable[Prefix], timeout_ns: int = 0) -> int:
    """Add prefixes for so long, 0 for no end; those that are there already get this end. Returns how many
    were written. SetError when the set is full or has no family of that kind: what was added before stays."""
    own = expiry.now() + timeout_ns if timeout_ns else NEVER

    def one(family: _Family, prefix: Prefix) -> bool:
        token = token_of(prefix)
        try:
            tries.add(family.trie, family.spec, token, own)
        except bpf.BpfError as error:
            if error.errno not in (errno.ENOSPC, errno.E2BIG):
                raise
            if not tries.sweep(family.trie, family.spec, expiry.now()):
                raise _full(name, family.spec, f"`{prefix}` was not added") from error
            tries.add(family.trie, family.spec, token, own)
        return True

    return _each(running, name, prefixes, one)


def delete(running: Running, name: str, prefixes: Iterable[Prefix]) -> int:
    """Remove prefixes; returns how many were there."""

    def one(family: _Family, prefix: Prefix) -> bool:
        return tries.delete(family.trie, family.spec, token_of(prefix))

    return _each(running, name, prefixes, one)


def members(running: Running, name: str) -> list[Member]:
    """The set's prefixes that hold, IPv4 first, each family sorted."""
    now = expiry.now()
    with _opened(running, name) as families:
        return [
            Member(prefix_of(entry.token), None if entry.own_ns == NEVER else entry.own_ns - now)
            for _, family in sorted(families.items())
            for entry in sorted(tries.entries(family.trie, family.spec))
            if holds(entry.own_ns, now)
        ]


def size(running: Running, name: str) -> int:
    """How many prefixes hold, of both families."""
    now = expiry.now()
    with _opened(running, name) as families:
        held = (holds(e.own_ns, now) for f in families.values() for e in tries.entries(f.trie, f.spec))
        return sum(held)


def flush(running: Running, name: str) -> int:
    """Remove everything at once; returns how many prefixes there were."""
    removed = size(running, name)
    load(running, name, Listing())
    return removed


def load(running: Running, name: str, listing: Listing) -> int:
    """Make a set hold exactly a list, at one instant in each family; returns how many prefixes those are.
    SetError when they do not fit; any error means that nothing has changed."""
    now = expiry.now()
    with _opened(running, name) as families, ExitStack() as undo:
        made: dict[int, Fd] = {}
        for version, tokens in listing.tokens.items():
            if version in families:
                own = dict.fromkeys(tokens, NEVER)
                own |= {token: now + span for token, span in tokens.items() if span}
                made[version] = undo.enter_context(_filled(name, families[version].spec, own))
            elif tokens:
                raise _never(running, name, prefix_of(min(tokens))).with_notes(UNCHANGED)
        try:
            _switch(running.directory / "current" / "maps", families, made)
        except bpf.BpfError as error:
            raise explain(error, f"switching set `{name}`").with_notes(UNCHANGED) from error
    return sum(map(len, listing.tokens.values()))


def _filled(name: str, spec: Map, own: Mapping[bytes, int]) -> Fd:
    if len(own) > spec.max_entries:
        raise _full(name, spec, f"the list has {len(own)}", UNCHANGED)
    try:
        trie = tries.make(spec)
        try:
            tries.fill(trie, own)
        except BaseException:
            trie.close()
            raise
    except bpf.BpfError as error:
        raise explain(error, f"making set `{name}` anew").with_notes(UNCHANGED) from error
    return trie


def _switch(folder: Path, families: Mapping[int, _Family], made: Mapping[int, Fd]) -> None:
    """Put new tries in force. Each is pinned first: a crash leaves a pin too many and never one too few."""
    with ExitStack() as undo:
        fresh = {}
        for version, trie in made.items():
            key = map_key("", families[version].spec)
            fresh[version] = folder / pins.quote(trie_key(key, bpf.map_info(trie).id))
            bpf.pin(trie, str(fresh[version]))
            undo.callback(fresh[version].unlink)
        for version, trie in made.items():
            family = families[version]
            tries.switch(family.slot, trie)
            undo.callback(tries.switch, family.slot, family.trie)
        undo.pop_all()
    for version, pin in fresh.items():
        stem = pins.quote(trie_key(map_key("", families[version].spec), 0)).removesuffix("0")
        for path in pins.listing(folder):
            if path.name.startswith(stem) and path != pin:
                path.unlink()


def _full(name: str, spec: Map, *notes: str) -> SetError:
    return SetError(
        f"set `{name}` is full",
        (f"it holds {spec.max_entries} prefixes of a family", *notes),
        ("remove some with `lockgate set del`, or raise its `max` in the policy",),
    )


def _never(running: Running, name: str, prefix: Prefix) -> SetError:
    return SetError(
        f"policy `{running.name}` asks set `{name}` for IPv{10 - prefix.version} only",
        (f"`{prefix}` could never match",),
    )


def _maps(running: Running, name: str) -> dict[int, Map]:
    """IP version → map of the set; SetError with the nearest name when there is no such set."""
    found = {
        (4 if m.key_size == 8 else 6): m
        for c in running.state.manifest.chains
        for m in c.maps
        if m.set == name
    }
    if not found:
        existing = names(running)
        raise SetError(
            f"policy `{running.name}` has no dynamic set `{name}`",
            (),
            (f"its dynamic sets: {', '.join(existing)}" if existing else "it has no dynamic set at all",),
        )
    return found


@contextmanager
def _opened(running: Running, name: str) -> Iterator[dict[int, _Family]]:
    with ExitStack() as stack:
        families = {}
        for version, spec in _maps(running, name).items():
            slot, trie = running.open_set(map_key("", spec))
            families[version] = _Family(spec, stack.enter_context(slot), stack.enter_context(trie))
        yield families


def _each(
    running: Running, name: str, prefixes: Iterable[Prefix], change: Callable[[_Family, Prefix], bool]
) -> int:
    done = 0
    with _opened(running, name) as families:
        for prefix in prefixes:
            if prefix.version not in families:
                raise _never(running, name, prefix)
            try:
                done += change(families[prefix.version], prefix)
            except bpf.BpfError as error:
                raise explain(error, f"changing set `{name}`") from error
    return done
