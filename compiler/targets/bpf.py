"""eBPF: the whole language, as a bundle."""

from __future__ import annotations

from ..driver import Session
from .base import Target

TARGET = Target(
    name="bpf",
    about="programs for Linux's eBPF, in a bundle that `lockgate up` loads",
    takes="the plan",
    suffix=".bundle",
    capabilities={
        "hooks": "xdp, tc, connect",
        "actions": "all",
        "conditions": "all",
        "dynamic sets": "yes",
        "`limit`": "packets and bits; per source, destination, flow",
        "`count`": "yes",
        "`log`": "to a ring buffer",
        "`mark`, `dscp`": "yes",
        "`fragments`": "first-only, drop, track",
        "malformed packets": "dropped first",
        "changes at one instant": "yes",
        "counters": "each rule",
        "tested": "in the kernel",
    },
    check=Session.fits,
    build=Session.bundle,
    begin=Session.prepare,
)
