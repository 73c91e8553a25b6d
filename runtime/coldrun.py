"""What a program costs a packet that it has never met, at XDP or tc.

A small generator program, run by BPF_PROG_TEST_RUN, writes the next packet of a pool into the frame and
tail-calls the program under test, so that neither caches nor branch predictors have seen the packet before.
What generator and test run cost themselves is measured with a program that answers at once, in turns with the
others, for the caller to subtract. Slices are short and run at real-time priority, since the kernel measures
them by the wall clock. Nothing is attached anywhere.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from lockgate.stdlib_bpf.hooks.base import AttachPoint, Hook

from .sys import attrs, bpf
from .sys.fd import Fd

SLICE_NS = 5_000_000
LEAST, PACED, PACE_NS = 64, 10_000, 1_000_000  # packets of a slice; packets and time to find out how many
TAIL_CALL = 12  # enum bpf_func_id
BPF_SIZE = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
Key = TypeVar("Key")


@dataclass(frozen=True)
class Stamp:
    """What the generator writes into a frame: `size` bytes of a packet in the pool, a power of two, of which
    parts are copied: (offset in the stamp, offset in the frame, bytes: 1, 2, 4 or 8)."""

    size: int
    parts: tuple[tuple[int, int, int], ...]


# Stores lie as programs load: a load that two stores wrote waits for both. IP headers begin at 14.
WHOLE_FRAME = Stamp(128, ((0, 0, 4), (4, 4, 2), (6, 6, 8), *((at, at, 8) for at in range(14, 118, 8))))
FRAME_BYTES = 118  # of a frame that is stamped whole


# ---- programs ----


def constant(action: str, hook: Hook, point: AttachPoint | None = None) -> Fd:
    """A program that answers and does nothing else, for a point of its hook, or the first one."""
    return program(insn(0xB7, 0, 0, 0, hook.verdicts[action]) + insn(0x95), hook, point)


def insn(code: int, dst: int = 0, src: int = 0, offset: int = 0, imm: int = 0) -> bytes:
    """One instruction (Documentation/bpf/standardization/instruction-set.rst)."""
    return struct.pack("<BBhi", code, src << 4 | dst, offset, imm)


def map_insn(dst: int, map_: Fd, value: bool) -> bytes:
    """Two instructions: a register becomes a map, or the address of its first value."""
    kind = attrs.PSEUDO_MAP_VALUE if value else attrs.PSEUDO_MAP_FD
    return insn(0x18, dst, kind, 0, map_.number) + insn(0)


def program(code: bytes, hook: Hook, point: AttachPoint | None = None) -> Fd:
    """Loaded as programs of policies are: one of another kind cannot call them."""
    point = point or next(iter(hook.points.values()))[0]
    kind = (point.prog_type, point.load_attach_type)
    return bpf.prog_load(bpf.Program("coldrun", *kind, code, "GPL", flags=point.load_flags), None)[0]


def _generator(pool: Fd, packets: int, position: Fd, targets: Fd, stamp: Stamp, hook: Hook) -> Fd:
    """Next stamp of the pool into the frame, then on to the target."""
    copy = b"".join(
        insn(0x61 | BPF_SIZE[size], 0, 5, at, 0) + insn(0x63 | BPF_SIZE[size], 2, 0, to, 0)
        for at, to, size in stamp.parts
    )
    body = b"".join(
        (
            map_insn(5, position, True),
            insn(0x79, 7, 5),  # r7 = position
            insn(0xBF, 8, 7),
            insn(0x07, 8, 0, 0, 1),
            insn(0x7B, 5, 8),  # position + 1
            insn(0x57, 7, 0, 0, packets - 1),
            insn(0x67, 7, 0, 0, stamp.size.bit_length() - 1),
            map_insn(5, pool, True),
            insn(0x0F, 5, 7),
            copy,
            insn(0xBF, 1, 6),
            map_insn(2, targets, False),
            insn(0xB7, 3),
            insn(0x85, 0, 0, 0, TAIL_CALL),
        )
    )
    end = max(to + size for _, to, size in stamp.parts)
    head = b"".join(
        (
            insn(0xBF, 6, 1),
            insn(0x61, 2, 1, hook.context.offset("data")),
            insn(0x61, 3, 1, hook.context.offset("data_end")),
            insn(0xBF, 4, 2),
            insn(0x07, 4, 0, 0, end),
            insn(0x2D, 4, 3, len(body) // 8),
        )
    )
    return program(head + body + insn(0xB7, 0) + insn(0x95), hook)


@contextmanager
def stamping(target: Fd, pool_of: Sequence[bytes], stamp: Stamp, hook: Hook) -> Iterator[Fd]:
    """The generator in front of a target. `pool_of`: stamps, a power of two of them."""
    with ExitStack() as stack:
        packets = len(pool_of)
        pool = stack.enter_context(
            bpf.map_create(attrs.MAP_TYPE_ARRAY, 4, packets * stamp.size, 1, 0, "pool")
        )
        bpf.map_update(pool, bytes(4), b"".join(pool_of))
        position = stack.enter_context(bpf.map_create(attrs.MAP_TYPE_ARRAY, 4, 8, 1, 0, "position"))
        targets = stack.enter_context(bpf.map_create(attrs.MAP_TYPE_PROG_ARRAY, 4, 4, 1, 0, "targets"))
        bpf.map_update(targets, bytes(4), struct.pack("<I", target.number))
        yield stack.enter_context(_generator(pool, packets, position, targets, stamp, hook))


# ---- measuring ----


def alternate(
    runs: Mapping[Key, Callable[[int], float]],
    rounds: int,
    meanwhile: Callable[[], object] = lambda: None,
    slice_ns: int | None = None,
) -> dict[Key, list[float]]:
    """ns a packet of each run, one of each a round. A run is told how many packets, and tells ns of one;
    `meanwhile` is called between rounds."""
    found: dict[Key, list[float]] = {key: [] for key in runs}
    slice_ns = SLICE_NS if slice_ns is None else slice_ns
    with real_time():
        repeat = {key: max(LEAST, int(slice_ns / _pace(run))) for key, run in runs.items()}
        for _ in range(rounds):
            meanwhile()
            for key, run in runs.items():
                found[key].append(run(repeat[key]))
    return found


def _pace(run: Callable[[int], float]) -> float:
    """ns a packet, at least 1. Rules that are tried one after the other may take a millisecond."""
    return max(1, run(min(PACED, max(LEAST, int(PACE_NS / max(1, run(LEAST)))))))


def running(program: Fd, frame: bytes, live: bool = False) -> Callable[[int], int]:
    """A run for `alternate`: a program over one frame, many times; `live` as in `bpf.test_run`."""
    return lambda repeat: bpf.test_run(program, frame, repeat, live=live).duration_ns


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
