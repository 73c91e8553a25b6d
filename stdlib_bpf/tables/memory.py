"""What reading memory costs, by the size of what is read from.

Latency of one dependent random read, measured on the reference machine (AMD Zen 4, L1d 32 KiB, L2 1 MiB):
`docs/internals/tables.md`. Past about 4 MiB everything is DRAM and TLB: bytes per entry decide.
"""

from __future__ import annotations

# (footprint in bytes, ns of one dependent random read)
STEPS = (
    (32 << 10, 3.0),
    (256 << 10, 5.0),
    (1 << 20, 10.0),
    (2 << 20, 13.0),
    (4 << 20, 30.0),
    (8 << 20, 120.0),
    (16 << 20, 128.0),
)
DRAM_NS = 160.0


def read_ns(footprint: int) -> float:
    """Nanoseconds of one dependent random read in that many bytes."""
    return next((ns for limit, ns in STEPS if footprint <= limit), DRAM_NS)
