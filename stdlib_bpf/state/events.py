"""Log events: one record of a ring buffer for each packet that a rule with `log` decides."""

from __future__ import annotations

from ..layout import Struct, packed

HEADER_BYTES = 96
RING_BYTES = 256 * 1024

# slot: counter slot of the deciding rule. length: of the whole frame, in bytes. captured: how many bytes of
# `header` are filled with the beginning of the frame. At connect, captured is 0 and header begins with the
# decoded destination: family (u32: 4 or 6), protocol (u32), port (u32, host order), zero (u32), address
# (16 bytes, network order).
EVENT: Struct = packed(
    "event",
    ("ktime_ns", 8),
    ("policy", 4),
    ("slot", 4),
    ("ifindex", 4),
    ("length", 4),
    ("captured", 4),
    ("hook", 4),
    ("header", 1, HEADER_BYTES),
)
