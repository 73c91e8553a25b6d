"""Maps of a balancer: services and backends, which the runtime fills, and what programs keep of clients.

| map | key | value |
|---|---|---|
| VIPS | ADDRESS | VIP: of which service this is an address |
| SERVICES | FRONT | SERVICE: how calls of this port are spread, over which pool |
| TABLES | pool | the pool's table: blocks of backends' places in BACKENDS |
| BACKENDS | place | BACKEND |
| TURNS | pool | how many calls `round-robin` has spread |
| SOCKETS | a socket | SOCKET: which service it thinks it talks to |
| AFFINITY | CLIENT | KEPT: which backend a client has |
| MEMBERS | cgroup id | places of selections that its processes are in, a bit each, as in VIP.exempt |

Addresses are 16 bytes in network order, IPv4 mapped into IPv6, ports in network order: as the kernel has them
in a socket call, so that both families are one. A table is an array of its own, changed by one pointer. A
backend has a serial number that no other one ever has: what names a backend (SOCKET, KEPT) names that, too,
so removing a backend is writing 0 there, and its place can be used again.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from ..layout import Member, Struct, packed

VIPS, SERVICES, TABLES, BACKENDS = "vips", "services", "tables", "backends"
TURNS, SOCKETS, AFFINITY, MEMBERS = "turns", "sockets", "affinity", "members"

BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_LRU_HASH = 1, 2, 9
BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_SK_STORAGE = 12, 24
BPF_F_NO_PREALLOC, BPF_F_INNER_MAP = 1, 1 << 12

ADDRESS_BYTES = 16
FRONT = Struct(
    "lockgate_front",
    20,
    (Member("address", 0, 1, 16), Member("port", 16, 2, big_endian=True), Member("protocol", 18, 1)),
)
# exempt: bit n for place n (`Service.exempt`); slot: the service's first counter.
VIP = packed("lockgate_vip", ("exempt", 8), ("slot", 4), ("pad", 4))
# spread, empty: places in `services.PICKS` and `EMPTY`; affinity_ns 0: none.
SERVICE = Struct(
    "lockgate_service",
    24,
    (
        Member("affinity_ns", 0, 8),
        Member("pool", 8, 4),
        Member("slot", 12, 4),
        Member("port", 16, 2, big_endian=True),
        Member("spread", 18, 1),
        Member("empty", 19, 1),
    ),
)
# serial 0: nobody; port 0: the front's; failing: whoever had this backend gets another one; weight, draining
# and local are for the runtime, which keeps nothing else.
BACKEND = Struct(
    "lockgate_backend",
    40,
    (
        Member("serial", 0, 8),
        Member("address", 8, 1, 16),
        Member("pool", 24, 4),
        Member("port", 28, 2, big_endian=True),
        Member("weight", 30, 2),
        Member("draining", 32, 1),
        Member("local", 33, 1),
        Member("failing", 34, 1),
    ),
)
BLOCK_WORDS, WORD_BYTES = 16, 4  # of a table; word 0 of block 0 is its length, entries begin at block 1
BLOCK_BYTES = BLOCK_WORDS * WORD_BYTES
CLIENT = packed("lockgate_client", ("netns", 8), ("cgroup", 8), ("pool", 4), ("pad", 4))
KEPT = packed("lockgate_kept", ("serial", 8), ("seen_ns", 8), ("place", 4), ("pad", 4))
CLIENTS = 1 << 16
MASK_BITS = 64  # of VIP.exempt
MOST_MEMBERS = 1 << 14  # cgroups of endpoints that selections take

# A service that a socket talks to, and who really is there. serial 0: nobody. Place 0 is of whom the socket
# is connected to, the others of whom it has sent datagrams without; `turn` says which of those is written
# next, `last` which one was last in use.
PAIR = packed(
    "lockgate_pair",
    ("vip", 1, 16),
    ("backend", 1, 16),
    ("serial", 8),
    ("place", 4),
    ("vip_port", 2),
    ("backend_port", 2),
)
DATAGRAM_PAIRS = 4
PAIRS = 1 + DATAGRAM_PAIRS
SOCKET = Struct(
    "lockgate_socket",
    8 + PAIRS * PAIR.size,
    (Member("turn", 0, 4), Member("last", 4, 4), Member("pairs", 8, 1, PAIRS * PAIR.size)),
)

# Counters of a service, from its first slot on.
BALANCED, WITHOUT_BACKEND, UNDECLARED_PORT = range(3)
SLOTS = 3


def pair_at(place: int) -> int:
    """Offset of a pair in SOCKET."""
    return SOCKET.offset("pairs") + place * PAIR.size


def blocks(table: Sequence[int]) -> bytes:
    """A table's bytes. `table`: places in BACKENDS."""
    room = -len(table) % BLOCK_WORDS
    words = [len(table), *[0] * (BLOCK_WORDS - 1), *table, *[0] * room]
    return struct.pack(f"<{len(words)}I", *words)
