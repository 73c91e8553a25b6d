"""The project's own yardstick: an XDP program's cost per packet with a new address in every packet.

A small generator program, run by BPF_PROG_TEST_RUN, writes the next address of a pool into the frame and
tail-calls the program under test, so that neither caches nor branch predictors have seen the packet before.
What generator and test run cost themselves is measured with a program that drops everything, in turns with
the others, and subtracted. Slices are short and run at real-time priority, since the kernel measures them by
the wall clock. Nothing is attached anywhere.
"""

from __future__ import annotations

import os
import random
import statistics
import struct
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from lockgate.compiler.driver import Options, Session
from lockgate.runtime import bundle, loader, plan
from lockgate.runtime.sys import attrs, bpf
from lockgate.runtime.sys.fd import Fd
from lockgate.stdlib_bpf.hooks.xdp import BPF_F_XDP_HAS_FRAGS

POOL = 1 << 18  # packets; a power of two, and more addresses than caches hold lines
ROUNDS, SLICE_NS = 25, 5_000_000
XDP_DROP, XDP_PASS = 1, 2
MAP_TYPE_PROG_ARRAY, PROG_TYPE_XDP, ATTACH_TYPE_XDP = 3, 6, 37
TAIL_CALL = 12
PROG_INFO_BYTES, VERIFIED_INSNS_AT = 232, 216  # struct bpf_prog_info, include/uapi/linux/bpf.h


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
    """A policy of one rule list, built and loaded the ordinary way."""
    with Session(path, Options(structures=structures)) as session:
        session.prepare()
        session.analyse()
        built = bundle.parse(session.bundle())
    with loader.load(plan.make(built)) as program:
        yield program


def constant(verdict: int) -> Fd:
    """A program that answers and does nothing else."""
    return _program(_insn(0xB7, 0, 0, 0, verdict) + _insn(0x95))


def program_info(program: Fd) -> dict[str, int]:
    """What the kernel says of a program: `verified` instructions (all ways the verifier went), `insns` it has
    after that, bytes of machine code."""
    raw = bpf._info(program, PROG_INFO_BYTES)
    jited, xlated = struct.unpack_from("<II", raw, 16)
    verified = struct.unpack_from("<I", raw, VERIFIED_INSNS_AT)[0]
    return {"verified": verified, "insns": xlated // 8, "jited_bytes": jited}


def map_bytes(maps: Mapping[str, Fd]) -> int:
    """Memory that the kernel charges for maps."""
    total = 0
    for map_ in maps.values():
        for line in Path(f"/proc/self/fdinfo/{map_.number}").read_text().splitlines():
            if line.startswith("memlock:"):
                total += int(line.split()[1])
    return total


def _insn(code: int, dst: int = 0, src: int = 0, offset: int = 0, imm: int = 0) -> bytes:
    return struct.pack("<BBhi", code, src << 4 | dst, offset, imm)


def _map_insn(dst: int, map_: Fd, value: bool) -> bytes:
    kind = attrs.PSEUDO_MAP_VALUE if value else attrs.PSEUDO_MAP_FD
    return _insn(0x18, dst, kind, 0, map_.number) + _insn(0)


def _program(code: bytes) -> Fd:
    # Of the same kind as the programs under test, or the kernel does not let one call the other.
    flags = BPF_F_XDP_HAS_FRAGS
    program = bpf.Program("bench", PROG_TYPE_XDP, ATTACH_TYPE_XDP, code, "GPL", flags=flags)
    return bpf.prog_load(program, None)[0]


def _generator(pool: Fd, position: Fd, targets: Fd, version: int) -> Fd:
    """Next address of the pool into the frame, then on to the target."""
    at, size = (26, 4) if version == 4 else (22, 16)
    copy = b"".join(
        _insn(0x61, 0, 5, part, 0) + _insn(0x63, 2, 0, at + part, 0) for part in range(0, size, 4)
    )
    body = b"".join(
        (
            _map_insn(5, position, True),
            _insn(0x79, 7, 5),  # r7 = position
            _insn(0xBF, 8, 7),
            _insn(0x07, 8, 0, 0, 1),
            _insn(0x7B, 5, 8),  # position + 1
            _insn(0x57, 7, 0, 0, POOL - 1),
            _insn(0x67, 7, 0, 0, size.bit_length() - 1),
            _map_insn(5, pool, True),
            _insn(0x0F, 5, 7),
            copy,
            _insn(0xBF, 1, 6),
            _map_insn(2, targets, False),
            _insn(0xB7, 3),
            _insn(0x85, 0, 0, 0, TAIL_CALL),
        )
    )
    head = b"".join(
        (
            _insn(0xBF, 6, 1),
            _insn(0x61, 2, 1, 0),  # data
            _insn(0x61, 3, 1, 4),  # data_end
            _insn(0xBF, 4, 2),
            _insn(0x07, 4, 0, 0, at + size),
            _insn(0x2D, 4, 3, len(body) // 8),
        )
    )
    return _program(head + body + _insn(0xB7, 0) + _insn(0x95))


@contextmanager
def generating(target: Fd, addresses: Sequence[int], version: int) -> Iterator[Fd]:
    """The generator in front of a target."""
    size = 4 if version == 4 else 16
    with ExitStack() as stack:
        pool = stack.enter_context(bpf.map_create(attrs.MAP_TYPE_ARRAY, 4, POOL * size, 1, 0, "pool"))
        bpf.map_update(pool, bytes(4), b"".join(value.to_bytes(size) for value in addresses))
        position = stack.enter_context(bpf.map_create(attrs.MAP_TYPE_ARRAY, 4, 8, 1, 0, "position"))
        targets = stack.enter_context(bpf.map_create(MAP_TYPE_PROG_ARRAY, 4, 4, 1, 0, "targets"))
        bpf.map_update(targets, bytes(4), struct.pack("<I", target.number))
        yield stack.enter_context(_generator(pool, position, targets, version))


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
        floor = stack.enter_context(constant(XDP_DROP))
        ready = {("", "floor"): stack.enter_context(generating(floor, asked["miss"], version))}
        if base is not None:
            ready["base", "miss"] = stack.enter_context(generating(base, asked["miss"], version))
        for name, program in programs.items():
            for what, addresses in asked.items():
                ready[name, what] = stack.enter_context(generating(program, addresses, version))
                _verify(name, what, ready[name, what], frame)
        stack.enter_context(real_time())
        repeat = {key: _calibrated(program, frame) for key, program in ready.items()}
        found: dict[tuple[str, str], list[int]] = {key: [] for key in ready}
        for _ in range(rounds):
            for key, program in ready.items():
                found[key].append(bpf.test_run(program, frame, repeat[key]).duration_ns)
    floors = tuple(found["", "floor"])
    names = dict.fromkeys(name for name, _ in found if name)
    return {
        name: Figures(floors, {what: tuple(ns) for (of, what), ns in found.items() if of == name})
        for name in names
    }


@contextmanager
def real_time() -> Iterator[None]:
    """On one CPU, and before everybody else there."""
    cpus, policy, parameters = os.sched_getaffinity(0), os.sched_getscheduler(0), os.sched_getparam(0)
    os.sched_setaffinity(0, {max(cpus)})
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)
        os.sched_setaffinity(0, cpus)


def _verify(name: str, what: str, program: Fd, frame: bytes) -> None:
    wanted = XDP_PASS if what == "miss" else XDP_DROP
    for _ in range(512):
        got = bpf.test_run(program, frame).value
        if got != wanted:
            raise ValueError(f"{name} answers {got} for a {what}, not {wanted}")


def _calibrated(program: Fd, frame: bytes) -> int:
    """Runs that take about a slice."""
    return max(1_000, SLICE_NS // max(1, bpf.test_run(program, frame, 10_000).duration_ns))
