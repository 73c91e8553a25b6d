"""Packets that differ in addresses, protocol and ports: the generator for rule lists (`harness` has the one
for sets).

A packet of the pool is a stamp of 16 bytes: source and destination address, source and destination port,
protocol, and three bytes that are not used. The frame is right for TCP and for UDP at once.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from lockgate.runtime.sys import attrs, bpf
from lockgate.runtime.sys.fd import Fd
from lockgate.stdlib_bpf.classifiers import Box

from .harness import (
    MAP_TYPE_PROG_ARRAY,
    POOL,
    TAIL_CALL,
    XDP_DROP,
    _calibrated,
    _insn,
    _map_insn,
    _program,
    constant,
    real_time,
)

STAMP_BYTES = 16
# (offset in the stamp, offset in the frame, BPF_MEM size bits, bytes)
COPIES = ((0, 26, 0x00, 4), (4, 30, 0x00, 4), (8, 34, 0x00, 4), (12, 23, 0x10, 1))


def frame() -> bytes:
    """A frame that the generator stamps: 20 bytes of transport header that TCP and UDP both accept."""
    transport = struct.pack("!HHHHIBBHHH", 0, 0, 46, 0, 0, 0x50, 2, 0, 0, 0) + bytes(26)
    head = struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(transport), 0, 0, 64, 17, 0, 0, 0)
    return bytes(12) + b"\x08\x00" + head + transport


def inside(boxes: Sequence[Box], seed: int = 1) -> list[bytes]:
    """Packets that lie each in one of the boxes over (source, destination, protocol, ports), all boxes as
    likely."""
    draw = random.Random(f"inside {seed}")
    out = []
    for _ in range(POOL):
        source, destination, protocol, sport, dport = (
            draw.randint(*ends) for ends in draw.choice(boxes).ranges
        )
        if protocol not in (6, 17):
            protocol = draw.choice((6, 17))
        out.append(struct.pack("!IIHHB3x", source, destination, sport, dport, protocol))
    return out


def anywhere(seed: int = 1) -> list[bytes]:
    """Packets between random unicast addresses."""
    draw = random.Random(f"anywhere {seed}")
    address = (1 << 24, (223 << 24) - 1)
    return [
        struct.pack(
            "!IIHHB3x",
            draw.randint(*address),
            draw.randint(*address),
            draw.randint(1024, 65535),
            draw.choice((22, 53, 80, 443, draw.randint(0, 65535))),
            draw.choice((6, 17)),
        )
        for _ in range(POOL)
    ]


@contextmanager
def generating(target: Fd, stamps: Sequence[bytes]) -> Iterator[Fd]:
    """The generator in front of a target."""
    with ExitStack() as stack:
        pool = stack.enter_context(bpf.map_create(attrs.MAP_TYPE_ARRAY, 4, POOL * STAMP_BYTES, 1, 0, "pool"))
        bpf.map_update(pool, bytes(4), b"".join(stamps))
        position = stack.enter_context(bpf.map_create(attrs.MAP_TYPE_ARRAY, 4, 8, 1, 0, "position"))
        targets = stack.enter_context(bpf.map_create(MAP_TYPE_PROG_ARRAY, 4, 4, 1, 0, "targets"))
        bpf.map_update(targets, bytes(4), struct.pack("<I", target.number))
        yield stack.enter_context(_generator(pool, position, targets))


def _generator(pool: Fd, position: Fd, targets: Fd) -> Fd:
    copy = b"".join(
        _insn(0x61 | size, 0, 5, at, 0) + _insn(0x63 | size, 2, 0, to, 0) for at, to, size, _ in COPIES
    )
    body = b"".join(
        (
            _map_insn(5, position, True),
            _insn(0x79, 7, 5),  # r7 = position
            _insn(0xBF, 8, 7),
            _insn(0x07, 8, 0, 0, 1),
            _insn(0x7B, 5, 8),  # position + 1
            _insn(0x57, 7, 0, 0, POOL - 1),
            _insn(0x67, 7, 0, 0, STAMP_BYTES.bit_length() - 1),
            _map_insn(5, pool, True),
            _insn(0x0F, 5, 7),
            copy,
            _insn(0xBF, 1, 6),
            _map_insn(2, targets, False),
            _insn(0xB7, 3),
            _insn(0x85, 0, 0, 0, TAIL_CALL),
        )
    )
    end = max(to + size for _, to, _, size in COPIES)
    head = b"".join(
        (
            _insn(0xBF, 6, 1),
            _insn(0x61, 2, 1, 0),  # data
            _insn(0x61, 3, 1, 4),  # data_end
            _insn(0xBF, 4, 2),
            _insn(0x07, 4, 0, 0, end),
            _insn(0x2D, 4, 3, len(body) // 8),
        )
    )
    return _program(head + body + _insn(0xB7, 0) + _insn(0x95))


def measure(
    programs: Mapping[str, Fd], pools: Mapping[str, Sequence[bytes]], rounds: int
) -> dict[tuple[str, str], list[int]]:
    """(program, pool) → ns a packet in each round, in turns; under ("", pool) a program that drops all."""
    data = frame()
    with ExitStack() as stack:
        floor = stack.enter_context(constant(XDP_DROP))
        ready = {
            (name, what): stack.enter_context(generating(program, stamps))
            for name, program in {"": floor, **programs}.items()
            for what, stamps in pools.items()
        }
        stack.enter_context(real_time())
        repeat = {key: _calibrated(program, data) for key, program in ready.items()}
        found: dict[tuple[str, str], list[int]] = {key: [] for key in ready}
        for _ in range(rounds):
            for key, program in ready.items():
                found[key].append(bpf.test_run(program, data, repeat[key]).duration_ns)
    return found
