"""Packets that differ in addresses, protocol and ports: the generator for rule lists (`harness` has the one
for sets).

A packet of the pool is a stamp of 16 bytes: source and destination address, source and destination port,
protocol, one byte that is not used, and the checksum of the header. The frame is right for TCP and for UDP at
once.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

import numpy as np

from lockgate.stdlib_bpf.classifiers import Box

from . import harness, stack
from .handwritten import ACTIONS
from .harness import CHECKED, Pool, Stamp, checksum

STAMP = Stamp(16, ((0, 26, 4), (4, 30, 4), (8, 34, 4), (12, 23, 1), (14, 24, 2)))
Packet = tuple[int, int, int, int, int]  # source, destination, protocol, source port, destination port


def frame() -> bytes:
    """A frame that the generator stamps: 20 bytes of transport header that TCP and UDP both accept."""
    transport = struct.pack("!HHHHIBBHHH", 0, 0, 46, 0, 0, 0x50, 2, 0, 0, 0) + bytes(26)
    return bytes(12) + b"\x08\x00" + _header((0, 0, 17, 0, 0), len(transport)) + transport


def _header(packet: Packet, transport_bytes: int = 46) -> bytes:
    """IPv4, without a checksum."""
    source, destination, protocol = packet[:3]
    return struct.pack(
        "!BBHHHBBHII", 0x45, 0, 20 + transport_bytes, 0, 0, 64, protocol, 0, source, destination
    )


def inside(boxes: Sequence[Box], seed: int = 1) -> Pool:
    """Packets that lie each in one of the boxes over (source, destination, protocol, ports), all boxes as
    likely."""
    draw = random.Random(f"inside {seed}")

    def packet() -> Packet:
        source, destination, protocol, sport, dport = (
            draw.randint(*ends) for ends in draw.choice(boxes).ranges
        )
        return source, destination, protocol if protocol in (6, 17) else draw.choice((6, 17)), sport, dport

    return _pool([packet() for _ in range(harness.POOL)], boxes)


def anywhere(boxes: Sequence[Box], seed: int = 1) -> Pool:
    """Packets between random unicast addresses; 127.0.0.0/8 the stack drops by itself."""
    draw = random.Random(f"anywhere {seed}")
    address = (1 << 24, (127 << 24) - 1)

    def packet() -> Packet:
        ports = draw.randint(1024, 65535), draw.choice((22, 53, 80, 443, draw.randint(0, 65535)))
        return draw.randint(*address), draw.randint(*address), draw.choice((6, 17)), *ports

    return _pool([packet() for _ in range(harness.POOL)], boxes)


def _pool(packets: Sequence[Packet], boxes: Sequence[Box]) -> Pool:
    rules = decided(packets[: stack.CHECKED], boxes)
    verdicts = ["pass" if rule is None else ACTIONS[boxes[rule].code % 2] for rule in rules[:CHECKED]]
    return Pool([stamped(packet) for packet in packets], verdicts, rules.count(None))


def stamped(packet: Packet) -> bytes:
    """A packet as the generator takes it."""
    source, destination, protocol, *ports = packet
    return struct.pack("!IIHHBxH", source, destination, *ports, protocol, checksum(_header(packet)))


def packet_of(stamp: bytes) -> Packet:
    """What a stamp makes of the frame."""
    source, destination, sport, dport, protocol, _ = struct.unpack("!IIHHBxH", stamp)
    return source, destination, protocol, sport, dport


def decided(packets: Sequence[Packet], boxes: Sequence[Box]) -> list[int | None]:
    """The number of the first box that has each packet."""
    ends = np.array([box.ranges for box in boxes], np.int64)
    found: list[int | None] = []
    for packet in packets:
        values = np.array(packet, np.int64)
        holds = ((ends[:, :, 0] <= values) & (values <= ends[:, :, 1])).all(axis=1)
        found.append(int(holds.argmax()) if holds.any() else None)
    return found
