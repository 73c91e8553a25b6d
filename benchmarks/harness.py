"""The project's own yardstick: a program's cost per packet, at XDP or tc, with a new address in every packet.

Packets come from `lockgate.runtime.coldrun`, which writes the next address of a pool into each frame; what
that costs is measured with a program that drops everything, in turns with the others, and subtracted.
"""

from __future__ import annotations

import os
import random
import statistics
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

from lockgate.compiler.driver import Options, Session
from lockgate.runtime import bundle, coldrun, loader, plan
from lockgate.runtime.coldrun import Stamp
from lockgate.runtime.sys import bpf
from lockgate.runtime.sys.fd import Fd
from lockgate.runtime.wirerun import LOOPBACK_IFINDEX
from lockgate.stdlib_bpf import hooks
from lockgate.stdlib_bpf.hooks.base import Hook

POOL = 1 << 18  # packets; a power of two, and more addresses than caches hold lines
ROUNDS, SLICE_NS = 25, 5_000_000
XDP, TC = hooks.ALL["xdp"], hooks.ALL["tc"]
PROG_INFO_BYTES, VERIFIED_INSNS_AT = 232, 216  # struct bpf_prog_info, include/uapi/linux/bpf.h
Key = TypeVar("Key")


@dataclass(frozen=True)
class Figures:
    """ns a packet, one a round: of the floor, and by the name of a pool of addresses."""

    floor: tuple[int, ...]
    pools: dict[str, tuple[int, ...]]

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


def udp_frame(version: int) -> bytes:
    """A UDP packet whose source address the generator will fill in."""
    udp = struct.pack("!HHHH", 1234, 53, 26, 0) + bytes(18)
    if version == 4:
        head = struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, 0, 0x0A090909)
        return bytes(12) + b"\x08\x00" + head + udp
    head = struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + bytes(16) + (0xFD00 << 112).to_bytes(16)
    return bytes(12) + b"\x86\xdd" + head + udp


def pools(entries: Sequence[tuple[int, int]], version: int, seed: int = 1) -> dict[str, list[int]]:
    """Addresses to ask about (value, prefix length) entries: "hit" lies in any of them, "zipf" in them, too,
    but the entry of rank k is drawn as often as 1/k, in random order of entries; "miss" lies in none."""
    draw = random.Random(f"pools {version} {seed}")
    width = 32 if version == 4 else 128
    spans = sorted((value, value + (1 << (width - length)) - 1) for value, length in entries)
    lows = [low for low, _ in spans]
    reach: list[int] = []
    for _, high in spans:
        reach.append(max(high, reach[-1]) if reach else high)
    ranked = draw.sample(spans, len(spans))
    weights = list(accumulate(1 / rank for rank in range(1, len(spans) + 1)))
    zipf = [draw.randint(*span) for span in draw.choices(ranked, cum_weights=weights, k=POOL)]
    hits = [draw.randint(*spans[draw.randrange(len(spans))]) for _ in range(POOL)]
    misses: list[int] = []
    while len(misses) < POOL:
        value = draw.randrange(1 << 24, 223 << 24) if version == 4 else draw.randrange(0x2 << 124, 0x4 << 124)
        at = bisect_right(lows, value) - 1
        if at < 0 or reach[at] < value:
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


ADDRESS = {
    4: Stamp(4, ((0, 26, 4),)),
    6: Stamp(16, tuple((part, 22 + part, 4) for part in range(0, 16, 4))),
}


@contextmanager
def stamping(target: Fd, pool_of: Sequence[bytes], stamp: Stamp, hook: Hook = XDP) -> Iterator[Fd]:
    """The generator in front of a target. `pool_of`: POOL stamps."""
    with coldrun.stamping(target, pool_of, stamp, hook) as program:
        yield program


@contextmanager
def generating(target: Fd, addresses: Sequence[int], version: int, hook: Hook = XDP) -> Iterator[Fd]:
    """The generator of source addresses in front of a target."""
    stamp = ADDRESS[version]
    with stamping(target, [value.to_bytes(stamp.size) for value in addresses], stamp, hook) as program:
        yield program


# ---- measuring ----


def measure(
    programs: Mapping[str, Fd],
    asked: Mapping[str, Sequence[int]],
    version: int,
    rounds: int = ROUNDS,
    base: Fd | None = None,
) -> dict[str, Figures]:
    """What each program costs on each pool, in alternating rounds. Every program must drop what is in a pool,
    and pass what is in "miss": ValueError for one that does not. `base`: a program that passes everything,
    measured on the misses as "base"."""
    frame = udp_frame(version)
    with ExitStack() as stack:
        floor = stack.enter_context(constant("drop"))
        ready = {("", "floor"): stack.enter_context(generating(floor, asked["miss"], version))}
        if base is not None:
            ready["base", "miss"] = stack.enter_context(generating(base, asked["miss"], version))
        for name, program in programs.items():
            for what, addresses in asked.items():
                ready[name, what] = stack.enter_context(generating(program, addresses, version))
                verify(f"{name}, {what}", ready[name, what], frame, "pass" if what == "miss" else "drop")
        found = alternate(ready, frame, rounds)
    floors = tuple(found["", "floor"])
    names = dict.fromkeys(name for name, _ in found if name)
    return {
        name: Figures(floors, {what: tuple(ns) for (of, what), ns in found.items() if of == name})
        for name in names
    }


def alternate(
    programs: Mapping[Key, Fd], frame: bytes, rounds: int, meanwhile: Callable[[], object] = lambda: None
) -> dict[Key, list[int]]:
    """ns a packet of each program, one of each a round; `meanwhile` is called between rounds."""
    runs = {key: coldrun.running(program, frame) for key, program in programs.items()}
    return coldrun.alternate(runs, rounds, meanwhile, SLICE_NS)


def verify(name: str, program: Fd, frame: bytes, action: str, hook: Hook = XDP) -> None:
    """ValueError when a program does not answer by that action, packet after packet."""
    wanted = hook.verdicts[action] & 0xFFFFFFFF
    for _ in range(512):
        got = bpf.test_run(program, frame).value
        if got != wanted:
            raise ValueError(f"{name}: {got} in place of {wanted}, `{action}`")
