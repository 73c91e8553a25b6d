"""Which entry of a service's table a client gets: the meaning that generated code must have.

Tables are lists of backends; `maglev` picks the entry by a hash of the client, `random` by a random number,
`round-robin` by a counter. Who the client is: with affinity whoever shares its network namespace (in that of
the host, whoever shares its cgroup, too), else the socket alone, by the kernel's cookies.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import maglev
from .services import LOCAL_FIRST, MAGLEV, SPREADS, Backend, Service
from .turns import turns

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
MIXERS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
LAST_SHIFT = 31


def mixed(value: int) -> int:
    """64 bits well mixed: the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    for shift, factor in MIXERS:
        value = (value ^ value >> shift) * factor & MASK
    return value ^ value >> LAST_SHIFT


def client(netns: int, cgroup: int) -> int:
    """The key of a client by the cookie of its network namespace and, in that of the host, its cgroup's id (0
    elsewhere)."""
    return (mixed(netns) + cgroup) & MASK


def hashed(key: int, pool: int) -> int:
    """A client's hash for a pool: another one for each, or all services would load the same backends."""
    return mixed((key + GOLDEN * (pool + 1)) & MASK)


def entry(bits: int, size: int) -> int:
    """The entry that 64 random bits stand for: the upper half as a fraction of the table."""
    return (bits >> 32) * size >> 32


def table(service: Service, backends: Sequence[Backend]) -> list[int]:
    """The table of a service over backends of one family: their places. Those that drain or fail have no
    entry, and by `local-first` those that are elsewhere have none as long as one is here."""
    taking = [place for place, backend in enumerate(backends) if backend.taking]
    if service.spread == LOCAL_FIRST:
        taking = [place for place in taking if backends[place].local] or taking
    weights = [backends[place].weight for place in taking]
    if SPREADS[service.spread] == MAGLEV:
        names = [backends[p].raw + backends[p].port.to_bytes(2, "big") for p in taking]
        found = maglev.table(names, weights, service.size)
    else:
        found = turns(weights)
    return [taking[i] for i in found]


def maglev_choice(key: int, pool: int, table: Sequence[int]) -> int | None:
    """Place of the backend that a client gets by `maglev`; None when nobody takes clients."""
    return table[entry(hashed(key, pool), len(table))] if table else None
