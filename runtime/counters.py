"""Counters of loaded policies, read from their per-CPU arrays. Changes nothing.

A slot's number is its index in the chain's `slots`; sums over CPUs may be a packet apart from each other
while traffic runs.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lockgate.stdlib_bpf.manifest import Chain, Slot
from lockgate.stdlib_bpf.state.counters import COUNTER

from .plan import map_key
from .running import Running
from .sys import bpf
from .sys.fd import Fd


@dataclass(frozen=True)
class Count:
    """What one slot counted. `bytes` is 0 at connect."""

    chain: str
    slot: Slot
    packets: int
    bytes: int


@cache
def possible_cpus() -> int:
    """How many values a per-CPU map holds for a key: the highest possible CPU's number plus one."""
    text = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return int(text.replace("-", ",").rpartition(",")[2]) + 1


class CounterReader:
    """Reads all slots of one counter array again and again. The caller keeps owning `map_`."""

    def __init__(self, map_: Fd, slots: int) -> None:
        self._cpus, self._slots = possible_cpus(), slots
        self._reader = bpf.ArrayReader(map_, slots, COUNTER.size * self._cpus)
        self._format = struct.Struct(f"<{slots * self._cpus * COUNTER.size // 8}Q")

    def raw(self) -> bytes:
        """The array's bytes, for cheap comparison."""
        return self._reader.read()

    def totals(self, raw: bytes | None = None) -> list[tuple[int, int]]:
        """(packets, bytes) of every slot, summed over CPUs; of `raw` if given, else read now."""
        words = self._format.unpack(self.raw() if raw is None else raw)
        step = 2 * self._cpus
        return [
            (sum(words[i * step : (i + 1) * step : 2]), sum(words[i * step + 1 : (i + 1) * step : 2]))
            for i in range(self._slots)
        ]


def read_chain(running: Running, chain: Chain) -> list[Count]:
    """Counts of one chain, in slot order."""
    for map_ in chain.maps:
        if map_.role == "counters":
            with running.open_map(map_key(chain.name, map_)) as fd:
                totals = CounterReader(fd, map_.max_entries).totals()
            return [Count(chain.name, s, p, b) for s, (p, b) in zip(chain.slots, totals, strict=False)]
    return []


def read(running: Running) -> list[Count]:
    """Counts of every chain of a loaded policy."""
    return [count for chain in running.state.manifest.chains for count in read_chain(running, chain)]
