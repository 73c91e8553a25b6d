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

from lockgate.stdlib_bpf.hooks.base import Hook

from .sys import attrs, bpf
from .sys.fd import Fd

SLICE_NS = 5_000_000
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


def constant(action: str, hook: Hook) -> Fd:
    """A program that answers and does nothing else."""
    return _program(_insn(0xB7, 0, 0, 0, hook.verdicts[action]) + _insn(0x95), hook)


def _insn(code: int, dst: int = 0, src: int = 0, offset: int = 0, imm: int = 0) -> bytes:
    return struct.pack("<BBhi", code, src << 4 | dst, offset, imm)


def _map_insn(dst: int, map_: Fd, value: bool) -> bytes:
    kind = attrs.PSEUDO_MAP_VALUE if value else attrs.PSEUDO_MAP_FD
    return _insn(0x18, dst, kind, 0, map_.number) + _insn(0)


def _program(code: bytes, hook: Hook) -> Fd:
    """Loaded as programs of policies are: one of another kind cannot call them."""
    point = next(iter(hook.points.values()))[0]
    program = bpf.Program(
        "coldrun", point.prog_type, point.load_attach_type, code, "GPL", flags=point.load_flags
    )
    return bpf.prog_load(program, None)[0]


def _generator(pool: Fd, packets: int, position: Fd, targets: Fd, stamp: Stamp, hook: Hook) -> Fd:
    """Next stamp of the pool into the frame, then on to the target."""
    copy = b"".join(
        _insn(0x61 | BPF_SIZE[size], 0, 5, at, 0) + _insn(0x63 | BPF_SIZE[size], 2, 0, to, 0)
        for at, to, size in stamp.parts
    )
    body = b"".join(
        (
            _map_insn(5, position, True),
            _insn(0x79, 7, 5),  # r7 = position
            _insn(0xBF, 8, 7),
            _insn(0x07, 8, 0, 0, 1),
            _insn(0x7B, 5, 8),  # position + 1
            _insn(0x57, 7, 0, 0, packets - 1),
            _insn(0x67, 7, 0, 0, stamp.size.bit_length() - 1),
            _map_insn(5, pool, True),
            _insn(0x0F, 5, 7),
            copy,
            _insn(0xBF, 1, 6),
            _map_insn(2, targets, False),
            _insn(0xB7, 3),
            _insn(0x85, 0, 0, 0, TAIL_CALL),
        )
    )
    end = max(to + size for _, to, size in stamp.parts)
    head = b"".join(
        (
            _insn(0xBF, 6, 1),
            _insn(0x61, 2, 1, hook.context.offset("data")),
            _insn(0x61, 3, 1, hook.context.offset("data_end")),
            _insn(0xBF, 4, 2),
            _insn(0x07, 4, 0, 0, end),
            _insn(0x2D, 4, 3, len(body) // 8),
        )
    )
    return _program(head + body + _insn(0xB7, 0) + _insn(0x95), hook)


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
    runs: Mapping[Key, Callable[[int], int]],
    rounds: int,
    meanwhile: Callable[[], object] = lambda: None,
    slice_ns: int | None = None,
) -> dict[Key, list[int]]:
    """ns a packet of each run, one of each a round. A run is told how many packets, and tells ns of one;
    `meanwhile` is called between rounds."""
    found: dict[Key, list[int]] = {key: [] for key in runs}
    slice_ns = SLICE_NS if slice_ns is None else slice_ns
    with real_time():
        repeat = {key: max(1_000, slice_ns // max(1, run(10_000))) for key, run in runs.items()}
        for _ in range(rounds):
            meanwhile()
            for key, run in runs.items():
                found[key].append(run(repeat[key]))
    return found


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
