"""Counters summed up: by policy and verdict, or by endpoint. Reads what `counters` and `flowlist` read.

What an endpoint received and sent is that of the flows that are known now: packets that were dropped, and
flows that are over, are in the counters of rules and of policies only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from . import counters, flowlist, show
from .counters import Count
from .flowlist import Line
from .running import Running


@dataclass(frozen=True)
class Tally:
    """What rules of a policy with one verdict matched. What is of no policy, where several are one list, has
    its own name in parentheses as `policy`."""

    policy: str
    verdict: str
    packets: int
    bytes: int


@dataclass(frozen=True)
class Traffic:
    """What an endpoint received and sent in so many flows."""

    endpoint: str
    flows: int
    received: int
    sent: int
    bytes_received: int
    bytes_sent: int


def by_policy(running: Running, counts: Iterable[Count]) -> list[Tally]:
    """A row for each policy and verdict, in the order in which rules are asked. Named counters are not among
    them: each adds to what a rule counts already."""
    chains = {chain.name: chain for chain in running.state.manifest.chains}
    shared = {name for name, chain in chains.items() if any(slot.policy for slot in chain.slots)}
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for count in counts:
        slot = count.slot
        if slot.kind == "named":
            continue
        alone = f"({slot.label})" if count.chain in shared else chains[count.chain].policy
        key = slot.policy or alone, slot.said
        packets, size = sums.get(key, (0, 0))
        sums[key] = packets + count.packets, size + count.bytes
    return [Tally(*key, *value) for key, value in sums.items()]


def by_endpoint(lines: Iterable[Line]) -> list[Traffic]:
    """A row for each endpoint that has flows, by name."""
    sums: dict[str, list[int]] = {}
    for line in lines:
        name = line.subject.name or line.subject.address
        own = sums.setdefault(name, [0] * 5)
        for i, more in enumerate((1, *line.packets, *line.bytes)):
            own[i] += more
    return [Traffic(name, *own) for name, own in sorted(sums.items())]


def _of_policies(running: Running) -> Sequence[Tally | Traffic]:
    return by_policy(running, counters.read(running))


def _of_endpoints(running: Running) -> Sequence[Tally | Traffic]:
    return by_endpoint(flowlist.read(running, time.clock_gettime_ns(time.CLOCK_MONOTONIC)))


WAYS: dict[str, tuple[Callable[[Running], Sequence[Tally | Traffic]], tuple[str, ...]]] = {
    "policy": (_of_policies, ("policy", "verdict", "packets", "bytes")),
    "endpoint": (_of_endpoints, ("endpoint", "flows", "received", "sent", "bytes in", "bytes out")),
}


def show_by(way: str, policies: Iterable[Running], output: str) -> None:
    """Print the rows of loaded policies, one of WAYS."""
    rows_of, columns = WAYS[way]
    found = [(running.name, row) for running in policies for row in rows_of(running)]
    if output == "json":
        show.as_json([{"loaded": name, **asdict(row)} for name, row in found])
        return
    show.table(("loaded", *columns), [(name, *asdict(row).values()) for name, row in found])
