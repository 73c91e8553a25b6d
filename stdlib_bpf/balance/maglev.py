"""The Maglev table: which backend has which entry, such that few entries move when backends come and go.

Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, §3.4: each backend
has a permutation of all entries of its own, and the backends take turns in taking the first free entry of
theirs. With weights a backend takes part in as many turns as its weight is of the largest. How many entries a
backend gets differs from its share by at most one turn's worth; so a table has a hundred entries for the
lightest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

SIZES = (251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521)  # primes below powers of two
ENTRIES_EACH = 100  # of the lightest backend: shares are exact to a hundredth (§5.3)
# Entries that change hands though neither of the two is the backend that went grow with the number of
# backends; with so many times its square there are fewer of them than of those that must (measured; up to 140
# backends).
ENTRIES_SQUARE = 3
LEAST_BACKENDS = 5  # that a table has room for, so that it can stay as large as it is when some come


def size(weights: Sequence[int]) -> int:
    """How many entries a table for backends of these weights should have. It must not change while the
    service lives: a table of another size has other permutations."""
    shares = sum(weights) / min(weights) if weights else 0
    count = max(LEAST_BACKENDS, shares)
    wanted = max(ENTRIES_EACH * count, ENTRIES_SQUARE * len(weights) ** 2)
    return next((s for s in SIZES if s >= wanted), SIZES[-1])


def permutation(name: bytes, size: int) -> tuple[int, int]:
    """(offset, skip) of a backend: entry number i of its permutation is (offset + i * skip) mod size."""
    digest = hashlib.blake2b(name, digest_size=16).digest()
    offset = int.from_bytes(digest[:8], "big") % size
    return offset, int.from_bytes(digest[8:], "big") % (size - 1) + 1


def table(names: Sequence[bytes], weights: Sequence[int], size: int) -> list[int]:
    """For each of `size` (a prime) entries the place of its backend; empty when there is none. Names must
    differ."""
    if len(names) < 2:
        return [0] * size * len(names)
    order = sorted(range(len(names)), key=lambda place: names[place])
    at, skips = map(list, zip(*(permutation(names[place], size) for place in order), strict=True))
    shares, largest = [weights[place] for place in order], max(weights)
    due = [0] * len(order)
    owner, free = [-1] * size, size
    while True:
        for i, share in enumerate(shares):
            due[i] += share
            if due[i] < largest:
                continue
            due[i] -= largest
            entry, skip = at[i], skips[i]
            while owner[entry] >= 0:
                entry = (entry + skip) % size
            owner[entry] = order[i]
            at[i] = (entry + skip) % size
            free -= 1
            if not free:
                return owner
