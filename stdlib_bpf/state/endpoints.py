"""Endpoints as programs see them: who has an address, who is behind an interface, and which selections take
them.

Two hash maps hold the same record: `addresses` by address, `interfaces` by ifindex, whose entry 0 is this
host. A record says which endpoint it is and, one bit each, which selections of the policy (`labels`) take it;
so a change of labels is one update of each of its entries, seen as a whole or not at all. Maps are not
preallocated, because a preallocated element may be used again while somebody reads it
(kernel/bpf/hashtab.c).

The word VERSION counts changes of records: flows that were judged before one are judged again
(`state.flows`). Knows layouts and meaning; must never know selectors. Generated code: `emit.endpoints`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..labels import HOST, WORKLOAD
from ..layout import Member, Struct

ADDRESSES, INTERFACES, VERSION, SCRATCH = "addresses", "interfaces", "version", "selected"
MAX_ADDRESSES = 1 << 18
MAX_INTERFACES = 1 << 14
MAX_SELECTIONS = 4096
WORD_BITS = 64
THIS_HOST = 0  # key of INTERFACES

# `address` in network order, an IPv4 address in the first 4 bytes; `family` 4 or 6.
ADDRESS_KEY = Struct("endpoint_address", 20, (Member("address", 0, 1, 16), Member("family", 16, 4)))
# What stands before the bits. `endpoint`: number of the endpoint, from 1 on; `ifindex`: of its interface, 0
# where it has none on this host; `kind`: a place in KINDS; `pair`: 1 where the interface's other
# end is in another network namespace, so that packets can be put there.
HEAD = Struct(
    "endpoint_head",
    16,
    (Member("endpoint", 0, 4), Member("ifindex", 4, 4), Member("kind", 8, 4), Member("pair", 12, 4)),
)
KINDS = (WORKLOAD, HOST)

# Where a packet is judged → the direction as the endpoint sees it, and the kind that is judged there.
POINTS = {
    "workload_ingress": ("ingress", WORKLOAD),
    "workload_egress": ("egress", WORKLOAD),
    "host_ingress": ("ingress", HOST),
    "host_egress": ("egress", HOST),
}


def words(selections: int) -> int:
    """How many 64-bit words the bits of so many selections take; at least one."""
    return max(1, -(-selections // WORD_BITS))


def record(selections: int) -> Struct:
    """The layout of a record."""
    bits = Member("selected", HEAD.size, 8, words(selections))
    return Struct("endpoint", bits.end, (*HEAD.members, bits))


@dataclass(frozen=True)
class Record:
    """One endpoint: `endpoint`, `ifindex`, `kind`, `pair` as in HEAD; `selected`: numbers of the
    selections that take it."""

    endpoint: int
    kind: str = WORKLOAD
    ifindex: int = 0
    selected: frozenset[int] = frozenset()
    pair: bool = False

    def pack(self, selections: int) -> bytes:
        """The record's bytes where there are so many selections."""
        bits = sum(1 << number for number in self.selected)
        head = HEAD.pack(
            endpoint=self.endpoint, ifindex=self.ifindex, kind=KINDS.index(self.kind), pair=int(self.pair)
        )
        return head + bits.to_bytes(8 * words(selections), "little")


Address = tuple[int, int]  # family (4 or 6), value


@dataclass(frozen=True)
class Endpoints:
    """The contents of both maps. `interfaces`: by ifindex, THIS_HOST for the host. `version`: of VERSION."""

    addresses: Mapping[Address, Record] = field(default_factory=dict)
    interfaces: Mapping[int, Record] = field(default_factory=dict)
    version: int = 0


def address_key(address: Address) -> bytes:
    """The key of ADDRESSES."""
    family, value = address
    raw = value.to_bytes(4 if family == 4 else 16)
    return ADDRESS_KEY.pack(address=raw, family=family)


def stays_on_link(family: int, address: int) -> bool:
    """Whether an address is none, or good on one link only: routers do not forward it."""
    if family == 4:
        return address == 0 or address >> 16 == 169 << 8 | 254
    return address == 0 or address >> 118 == 0xFE80 >> 6


def is_group(family: int, address: int) -> bool:
    """Whether an address stands for many: multicast, or everyone on the link."""
    return address >> 28 >= 14 if family == 4 else address >> 120 == 0xFF
