"""Packets that differ in addresses, protocol and ports: the generator for rule lists (`harness` has the one
for sets).

A packet of the pool is a stamp of 16 bytes: source and destination address, source and destination port,
protocol, and three bytes that are not used. The frame is right for TCP and for UDP at once.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from lockgate.runtime.sys.fd import Fd
from lockgate.stdlib_bpf.classifiers import Box

from . import harness
from .harness import POOL, Stamp

STAMP = Stamp(16, ((0, 26, 4), (4, 30, 4), (8, 34, 4), (12, 23, 1)))


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


def measure(
    programs: Mapping[str, Fd], pools: Mapping[str, Sequence[bytes]], rounds: int
) -> dict[tuple[str, str], list[int]]:
    """(program, pool) → ns a packet in each round, in turns; under ("", pool) a program that drops all."""
    with ExitStack() as stack:
        floor = stack.enter_context(harness.constant("drop"))
        ready = {
            (name, what): stack.enter_context(harness.stamping(program, stamps, STAMP))
            for name, program in {"": floor, **programs}.items()
            for what, stamps in pools.items()
        }
        return harness.alternate(ready, frame(), rounds)
