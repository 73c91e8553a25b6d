"""Packet filters of the kernel's stack under the harness's packets.

XDP's test run with live frames hands what passes to the stack of the namespace's loopback device, in the
same system call and on the same CPU: a packet is made, goes through prerouting, and is dropped there. The
same with a chain that drops everything and has no rule is the floor. Needs root.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lockgate.cost import peers
from lockgate.cost.said import Said
from lockgate.runtime.sys import netns
from lockgate.runtime.sys.link import loopback_up

from .others import Filter, Scripts

Run = Callable[[int], float]
CHECKED = 640  # packets
# Counters of what is past prerouting, /proc/net
PAST = {
    4: ("InAddrErrors", "InDelivers", "ForwDatagrams", "InNoRoutes", "InUnknownProtos"),
    6: ("Ip6InAddrErrors", "Ip6InDelivers", "Ip6OutForwDatagrams", "Ip6InNoRoutes", "Ip6InUnknownProtos"),
}


class Refused(Exception):  # noqa: N818 - reads as what happened
    """A filter does not take what it was told; why."""


@dataclass(frozen=True)
class Loaded:
    """A filter that holds a set or rules, and beside it one that holds none and drops everything. `load_s`:
    what its tools took."""

    filter: Filter
    version: int
    ruled: netns.Nameless
    empty: netns.Nameless
    load_s: float

    def verify(self, run: Run, passing: int) -> None:
        """ValueError unless so many of the next CHECKED packets get past the filter, which is not closed."""
        with self.ruled.inside():
            before = past(self.version)
            run(CHECKED)
            got = past(self.version) - before
        if got != passing:
            raise ValueError(
                f"{self.filter.name}: {got} of {CHECKED} packets in place of {passing} got past it"
            )

    def close(self) -> None:
        """From now on, what no rule matches is dropped as well."""
        with self.ruled.inside():
            load(self.filter.closes(self.version))


@contextmanager
def loaded(one: Filter, scripts: Scripts, version: int) -> Iterator[Loaded]:
    """A filter that lets on what no rule matches, until it is closed. Refused when its tools say no."""
    with ExitStack() as stack:
        ruled, empty = (stack.enter_context(netns.Nameless()) for _ in range(2))
        with empty.inside():
            loopback_up()
            load(one.closes(version))
        with ruled.inside():
            loopback_up()
            began = time.perf_counter()
            load(scripts)
        yield Loaded(one, version, ruled, empty, time.perf_counter() - began)


def load(scripts: Scripts) -> None:
    """Run the scripts here. Refused when a tool says no."""
    if (reason := peers.load(Said(scripts, (), {}))) is not None:
        raise Refused(reason)


def past(version: int) -> int:
    """Packets of this namespace that got past prerouting."""
    if version == 6:
        lines = (line.split() for line in Path("/proc/thread-self/net/snmp6").read_text().splitlines())
        counts = {name: int(count) for name, count in lines}
    else:
        counts = {}
        for name, word in (("snmp", "Ip:"), ("netstat", "IpExt:")):
            text = Path(f"/proc/thread-self/net/{name}").read_text().splitlines()
            heads, values = (line.split()[1:] for line in text if line.startswith(word))
            counts |= dict(zip(heads, map(int, values), strict=True))
    return sum(counts[name] for name in PAST[version])
