"""Dynamic sets of policies that nftables runs: shown and changed by the program nft(8).

A set NAME of a policy is the sets `NAME-4` and `NAME-6` of each of its tables; a change is one transaction
for all of them. nftables keeps no prefix within another, so such a one is refused, or left out of a list
where the wider one stays as long. Knows tables by `nftables`; what a prefix is, `prefixes`."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lockgate.stdlib_bpf import nft
from lockgate.stdlib_bpf.state.limits import SECOND_NS
from lockgate.stdlib_bpf.state.live import NEVER

from . import expiry, nftables
from .errors import UNCHANGED, SetError
from .prefixes import Listing, Prefix, prefix_of, token_of

VERSIONS = {"ipv4_addr": 4, "ipv6_addr": 6}
A_TURN = 5_000  # elements of one line


@dataclass(frozen=True)
class Member:
    """A prefix that holds; `left_ns`: for how long, None without an end."""

    prefix: Prefix
    left_ns: int | None


@dataclass(frozen=True)
class LiveSet:
    """A dynamic set. `tables`: by IP version, the families of the tables that have it; `capacity`: prefixes
    of a family that it holds at most."""

    policy: str
    name: str
    tables: Mapping[int, tuple[str, ...]]
    capacity: int

    def place(self, family: str, version: int) -> str:
        """What nft calls one of its parts."""
        return f"{family} {nft.PREFIX}{self.policy} {self.name}-{version}"


def everything(where: str | None, policy: str | None = None) -> list[LiveSet]:
    """The dynamic sets of all policies, or of one. NotLoaded."""
    if policy is not None:
        nftables.require(policy, where)
    found: dict[tuple[str, str], dict[int, list[str]]] = {}
    sizes: dict[tuple[str, str], int] = {}
    for one in _objects(nftables.run(["-j", "-t", "list", "sets"], where, "listing sets")):
        own = one["table"].startswith(nft.PREFIX) and one["family"] in nft.FAMILIES
        if not own or "timeout" not in one.get("flags", ()) or "/" in one["name"]:
            continue
        key = one["table"].removeprefix(nft.PREFIX), one["name"].rpartition("-")[0]
        found.setdefault(key, {4: [], 6: []})[VERSIONS[one["type"]]].append(one["family"])
        sizes[key] = one["size"] // 2
    return [
        LiveSet(*key, {version: tuple(families) for version, families in tables.items()}, sizes[key])
        for key, tables in sorted(found.items())
        if policy in (None, key[0])
    ]


def members(one: LiveSet, where: str | None) -> list[Member]:
    """The prefixes of a set, IPv4 first, each family sorted."""
    held = [member for version in (4, 6) for member in _held(one, version, where)]
    return sorted(held, key=lambda member: (member.prefix.version, token_of(member.prefix)))


def add(one: LiveSet, prefixes: Iterable[Prefix], timeout_ns: int, where: str | None) -> int:
    """Add prefixes for so long, 0 for no end; those that are there already get this end. Returns how many
    were written. SetError for one within another, and where there is no room: nothing has changed then."""
    new = list(dict.fromkeys(prefixes))
    lines = list[str]()
    for version in (4, 6):
        mine = [prefix for prefix in new if prefix.version == version]
        held = {member.prefix for member in _held(one, version, where)} if mine else set()
        for prefix in mine:
            _alone(one, prefix, (*held, *mine))
        _room(one, len(held | set(mine)))
        lines += _change(one, version, "delete", {prefix: 0 for prefix in mine if prefix in held})
        lines += _change(one, version, "add", dict.fromkeys(mine, timeout_ns))
    _run(lines, one, where)
    return len(new)


def delete(one: LiveSet, prefixes: Iterable[Prefix], where: str | None) -> int:
    """Remove prefixes; returns how many were there."""
    held = {member.prefix for member in members(one, where)}
    gone = [prefix for prefix in dict.fromkeys(prefixes) if prefix in held]
    lines = [
        line
        for version in (4, 6)
        for line in _change(one, version, "delete", {p: 0 for p in gone if p.version == version})
    ]
    _run(lines, one, where)
    return len(gone)


def load(one: LiveSet, listing: Listing, where: str | None) -> int:
    """Make a set hold exactly a list, at one instant; returns how many prefixes those are. SetError when they
    do not fit, or one would stay longer than one that covers it; nothing has changed then."""
    lines = []
    for version, tokens in listing.tokens.items():
        lines += [f"flush set {one.place(family, version)}" for family in one.tables[version]]
        kept = _outermost(one, tokens)
        _room(one, len(kept))
        lines += _change(one, version, "add", kept)
    _run(lines, one, where)
    return sum(map(len, listing.tokens.values()))


def flush(one: LiveSet, where: str | None) -> int:
    """Remove everything at once; returns how many prefixes there were."""
    removed = len(members(one, where))
    load(one, Listing(), where)
    return removed


def _outermost(one: LiveSet, tokens: Mapping[bytes, int]) -> dict[Prefix, int]:
    """Those of a list that no other covers, with how long they stay."""
    own = {token: span or NEVER for token, span in tokens.items()}
    ends, found, last = expiry.effective(own), dict[Prefix, int](), None
    for token, end in ends.items():
        if last is None or not expiry.covers(last, token):
            found[prefix_of(token)], last = tokens[token], token
        elif end != ends[last]:
            raise _within(one, prefix_of(token), prefix_of(last), "and would stay longer")
    return found


def _alone(one: LiveSet, prefix: Prefix, others: Iterable[Prefix]) -> None:
    for other in others:
        if other != prefix and other.overlaps(prefix):
            raise _within(one, prefix, other, f"which is in set `{one.name}`")


def _within(one: LiveSet, prefix: Prefix, other: Prefix, why: str) -> SetError:
    return SetError(
        f"`{prefix}` and `{other}` overlap",
        (f"the second, {why}", "nftables keeps no prefix within another", UNCHANGED),
        ("leave out the narrower one, or remove the other first",),
    )


def _room(one: LiveSet, count: int) -> None:
    if count > one.capacity:
        raise SetError(
            f"set `{one.name}` is full",
            (f"it holds {one.capacity} prefixes of a family, and there would be {count}", UNCHANGED),
            ("remove some with `lockgate set del`, or raise its `max` in the policy",),
        )


def _change(one: LiveSet, version: int, what: str, prefixes: Mapping[Prefix, int]) -> Iterator[str]:
    """Lines that add or delete prefixes, each with how long it stays."""
    texts = [f"{p} timeout {-(-span // 1_000_000)}ms" if span else str(p) for p, span in prefixes.items()]
    for family in one.tables[version]:
        for at in range(0, len(texts), A_TURN):
            yield f"{what} element {one.place(family, version)} {{ {', '.join(texts[at : at + A_TURN])} }}"


def _run(lines: list[str], one: LiveSet, where: str | None) -> None:
    if lines:
        nftables.run(["-f", "-"], where, f"changing set `{one.name}`", "\n".join(lines) + "\n")


def _held(one: LiveSet, version: int, where: str | None) -> list[Member]:
    """Prefixes of one family, as the first table has them: all have the same."""
    for family in one.tables[version][:1]:
        arguments = ["-j", "list", "set", *one.place(family, version).split()]
        (listed,) = _objects(nftables.run(arguments, where, f"reading set `{one.name}`"))
        return [_member(element) for element in listed.get("elem", ())]
    return []


def _member(element: Any) -> Member:
    left = None
    if isinstance(element, dict) and "elem" in element:
        left = element["elem"].get("expires")
        element = element["elem"]["val"]
    if isinstance(element, dict):
        element = f"{element['prefix']['addr']}/{element['prefix']['len']}"
    return Member(ipaddress.ip_network(element), None if left is None else left * SECOND_NS)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    return (entry["set"] for entry in json.loads(text)["nftables"] if "set" in entry)
