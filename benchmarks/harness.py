"""The project's own yardstick: a program's cost per packet, at XDP or tc, with a new address in every packet.

Packets come from `lockgate.runtime.coldrun`, which writes the next address of a pool into each frame; what
that costs is measured with a program that drops everything, in turns with the others, and subtracted.
"""

from __future__ import annotations

import os
import random
import statistics
import struct
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import numpy as np

from lockgate.compiler.driver import Options, Session
from lockgate.cost import peers
from lockgate.runtime import bundle, coldrun, loader, plan
from lockgate.runtime.coldrun import Stamp
from lockgate.runtime.sys import bpf
from lockgate.runtime.sys.fd import Fd
from lockgate.runtime.wirerun import LOOPBACK_IFINDEX
from lockgate.stdlib_bpf import hooks
from lockgate.stdlib_bpf.hooks.base import Hook

from . import idle, stack

POOL = 1 << 18  # packets; a power of two, and more addresses than caches hold lines
ROUNDS, SLICE_NS = 25, 5_000_000
XDP, TC = hooks.ALL["xdp"], hooks.ALL["tc"]
FLOOR = "floor"
CHECKED = 128  # packets
LOOPBACK_NET = 127  # 127.0.0.0/8: the stack drops such sources, whatever a filter says
PROG_INFO_BYTES, VERIFIED_INSNS_AT = 232, 216  # struct bpf_prog_info, include/uapi/linux/bpf.h
Key = TypeVar("Key")
Run = Callable[[int], float]


@dataclass(frozen=True)
class Figures:
    """ns a packet, one a round: of the floor, and by the name of a pool of addresses."""

    floor: tuple[float, ...]
    pools: dict[str, tuple[float, ...]]

    def best(self, what: str) -> float:
        """Minimum minus the floor's minimum: what the machine does when nobody disturbs it."""
        return float(min(self.pools[what]) - min(self.floor))

    def median(self, what: str) -> float:
        """The middle of the differences within each round."""
        return statistics.median(a - b for a, b in zip(self.pools[what], self.floor, strict=True))


def possible() -> bool:
    """Whether this machine lets us measure at all."""
    return os.geteuid() == 0 and Path("/sys/fs/bpf").exists()


# ---- packets ----


def checksum(header: bytes) -> int:
    """The Internet checksum (RFC 1071) of a header in which its own is zero."""
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def udp_frame(version: int) -> bytes:
    """A UDP packet whose source address the generator will fill in."""
    udp = struct.pack("!HHHH", 1234, 53, 26, 0) + bytes(18)
    if version == 4:
        head = struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, 0, 0x0A090909)
        head = head[:10] + checksum(head).to_bytes(2) + head[12:]
        return bytes(12) + b"\x08\x00" + head + udp
    head = struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + bytes(16) + (0xFD00 << 112).to_bytes(16)
    return bytes(12) + b"\x86\xdd" + head + udp


def pools(entries: Sequence[tuple[int, int]], version: int, seed: int = 1) -> dict[str, list[int]]:
    """Addresses to ask about (value, prefix length) entries: "hit" lies in any of them, "zipf" in them, too,
    but the entry of rank k is drawn as often as 1/k, in random order of entries; "miss" lies in none."""
    draw = random.Random(f"pools {version} {seed}")
    width = 32 if version == 4 else 128
    free = [(value, width - length) for value, length in entries]
    hits = [value | draw.getrandbits(bits) for value, bits in draw.choices(free, k=POOL)]
    weights = list(accumulate(1 / rank for rank in range(1, len(free) + 1)))
    ranked = draw.choices(draw.sample(free, len(free)), cum_weights=weights, k=POOL)
    zipf = [value | draw.getrandbits(bits) for value, bits in ranked]
    spans = sorted((value, value + (1 << bits) - 1) for value, bits in free)
    lows, reach = [low for low, _ in spans], list(accumulate((high for _, high in spans), max))
    misses: list[int] = []
    while len(misses) < POOL:
        value = 0x2 << 124 | draw.getrandbits(125)
        if version == 4:
            value = (1 << 24) + int(draw.random() * (222 << 24))
        at = bisect_right(lows, value) - 1
        if (at < 0 or reach[at] < value) and value >> 24 != LOOPBACK_NET:
            misses.append(value)
    return {"hit": hits, "zipf": zipf, "miss": misses}


# ---- programs ----


@contextmanager
def loaded(path: Path, structures: frozenset[str] | None = None) -> Iterator[loader.Loaded]:
    """A policy of one rule list, built and loaded the ordinary way; devices that it sends to are `lo`."""
    with Session(path, Options(structures=structures)) as session:
        session.prepare()
        session.analyse()
        built = bundle.parse(session.bundle())
    devices = {chain.name: (LOOPBACK_IFINDEX,) * len(chain.devices) for chain in built.manifest.chains}
    with loader.load(plan.make(built), ifindexes=devices) as program:
        yield program


def constant(action: str, hook: Hook = XDP) -> Fd:
    """A program that answers and does nothing else."""
    return coldrun.constant(action, hook)


def program_info(program: Fd) -> dict[str, int]:
    """What the kernel says of a program: `verified` instructions (all ways the verifier went), `insns` it has
    after that, bytes of machine code."""
    raw = bpf._info(program, PROG_INFO_BYTES)
    jited, xlated = struct.unpack_from("<II", raw, 16)
    verified = struct.unpack_from("<I", raw, VERIFIED_INSNS_AT)[0]
    return {"verified": verified, "insns": xlated // 8, "jited_bytes": jited}


def map_bytes(maps: Mapping[str, Fd]) -> int:
    """Memory that the kernel charges for maps."""
    return sum(bpf.map_bytes(map_) for map_ in maps.values())


ADDRESS = {  # the source; for IPv4 with the checksum, which the stack wants to be right
    4: Stamp(8, ((0, 26, 4), (4, 24, 2))),
    6: Stamp(16, tuple((part, 22 + part, 4) for part in range(0, 16, 4))),
}


@contextmanager
def stamping(target: Fd, pool_of: Sequence[bytes], stamp: Stamp, hook: Hook = XDP) -> Iterator[Fd]:
    """The generator in front of a target. `pool_of`: POOL stamps."""
    with (
        coldrun.stamping(target, pool_of, stamp, hook) as program,
        idle.attached(program) if hook is XDP else nullcontext(),
    ):
        yield program


@contextmanager
def generating(target: Fd, addresses: Sequence[int], version: int, hook: Hook = XDP) -> Iterator[Fd]:
    """The generator of source addresses in front of a target."""
    with stamping(target, stamps(addresses, version), ADDRESS[version], hook) as program:
        yield program


def stamps(addresses: Sequence[int], version: int) -> list[bytes]:
    """Source addresses as the generator takes them."""
    if version == 6:
        return [value.to_bytes(16) for value in addresses]
    rest = ~int.from_bytes(udp_frame(4)[24:26]) & 0xFFFF  # the sum without the source
    values = np.array(addresses, np.uint32)
    total = rest + (values >> 16) + (values & 0xFFFF)
    total = (total & 0xFFFF) + (total >> 16)
    sums = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return [struct.pack("!IH2x", *both) for both in zip(addresses, sums.tolist(), strict=True)]


# ---- measuring ----


@dataclass(frozen=True)
class Pool:
    """POOL packets as stamps, and what becomes of the first of them: verdicts, one each, and how many of the
    first `stack.CHECKED` no rule matches."""

    stamps: Sequence[bytes]
    verdicts: Sequence[str]
    passing: int


def measure(
    programs: Mapping[str, Fd],
    asked: Mapping[str, Sequence[int]],
    version: int,
    rounds: int = ROUNDS,
    bases: Mapping[tuple[str, str], Fd] | None = None,
    filters: Mapping[str, stack.Loaded] | None = None,
) -> dict[str, Figures]:
    """What sets of addresses cost (`compared`): what is in a pool is dropped, and passes if it is in "miss".
    A pool "half" is of hits and misses in random order."""
    pools_of = {
        what: _pool([(address, what != "miss") for address in addresses], version)
        for what, addresses in asked.items()
    }
    both = [(address, what == "hit") for what in ("hit", "miss") for address in asked[what]]
    pools_of["half"] = _pool(random.Random("half").sample(both, POOL), version)
    return compared(
        udp_frame(version), ADDRESS[version], pools_of, programs, rounds, bases or {}, filters or {}
    )


def _pool(addresses: Sequence[tuple[int, bool]], version: int) -> Pool:
    """Of addresses with whether each is in the set."""
    verdicts = ["drop" if inside else "pass" for _, inside in addresses[: stack.CHECKED]]
    stamped = stamps([address for address, _ in addresses], version)
    return Pool(stamped, verdicts[:CHECKED], verdicts.count("pass"))


def compared(
    frame: bytes,
    stamp: Stamp,
    pools_of: Mapping[str, Pool],
    programs: Mapping[str, Fd],
    rounds: int,
    bases: Mapping[tuple[str, str], Fd],
    filters: Mapping[str, stack.Loaded],
) -> dict[str, Figures]:
    """What each program and each filter of the stack costs on each pool, in alternating rounds. ValueError
    for one that answers otherwise than the pool says. `bases`: (name, pool) → a program that is measured
    there, whatever it answers. Filters are closed."""
    runs: dict[tuple[str, str], Run] = {}
    with ExitStack() as opened:

        def front(target: Fd, what: str) -> Fd:
            return opened.enter_context(stamping(target, pools_of[what].stamps, stamp))

        floor, up = (opened.enter_context(constant(action)) for action in ("drop", "pass"))
        runs["", FLOOR] = timed(front(floor, next(iter(pools_of))), frame)
        for (name, what), program in bases.items():
            runs[name, what] = timed(front(program, what), frame)
        for name, program in programs.items():
            for what, pool in pools_of.items():
                generator = front(program, what)
                verify(f"{name}, {what}", generator, frame, pool.verdicts)
                runs[name, what] = timed(generator, frame)
        for name, one in filters.items():
            for what, pool in pools_of.items():
                run = timed(front(up, what), frame, live=True)
                one.verify(run, pool.passing)
                runs[name, what] = peers.within(one.ruled, run)
            one.close()
            runs[name, FLOOR] = peers.within(one.empty, run)
        found = coldrun.alternate({key: warmed(run) for key, run in runs.items()}, rounds, slice_ns=SLICE_NS)
    by_name: dict[str, dict[str, tuple[float, ...]]] = {}
    for (name, what), ns in found.items():
        by_name.setdefault(name, {})[what] = tuple(ns)
    ours = by_name.pop("")[FLOOR]
    return {name: Figures(of.pop(FLOOR, ours), of) for name, of in by_name.items()}


def timed(program: Fd, frame: bytes, live: bool = False) -> Run:
    """A run by the time that the thread was on the CPU, which tells less than a nanosecond: for programs that
    the kernel need not do anything for, as those that `stamping` makes at XDP."""

    def run(repeat: int) -> float:
        began = time.clock_gettime_ns(time.CLOCK_THREAD_CPUTIME_ID)
        bpf.test_run(program, frame, repeat, live=live)
        return (time.clock_gettime_ns(time.CLOCK_THREAD_CPUTIME_ID) - began) / repeat

    return run


def warmed(run: Run) -> Run:
    """The run after as many packets that do not count: what ran before in this round has taken the caches,
    which a flood would not share."""

    def after(repeat: int) -> float:
        run(repeat)
        return run(repeat)

    return after


def alternate(
    programs: Mapping[Key, Fd], frame: bytes, rounds: int, meanwhile: Callable[[], object] = lambda: None
) -> dict[Key, list[float]]:
    """ns a packet of each program, one of each a round; `meanwhile` is called between rounds."""
    runs = {key: coldrun.running(program, frame) for key, program in programs.items()}
    return coldrun.alternate(runs, rounds, meanwhile, SLICE_NS)


def verify(name: str, program: Fd, frame: bytes, verdicts: Sequence[str], hook: Hook = XDP) -> None:
    """ValueError when a program does not answer so, packet after packet."""
    for number, verdict in enumerate(verdicts):
        got, wanted = bpf.test_run(program, frame).value, hook.verdicts[verdict] & 0xFFFFFFFF
        if got != wanted:
            raise ValueError(f"{name}: {got} in place of {wanted}, `{verdict}`, for packet {number}")
