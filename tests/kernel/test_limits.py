"""Limits on the kernel's own clock and on several processors at once."""

from __future__ import annotations

import os
import time

import pytest

from lockgate.runtime import bundle
from lockgate.runtime.sys import bpf
from lockgate.runtime.testrun import LoadedChain, load_chain
from tests import engines

pytestmark = pytest.mark.kernel

RATE, BURST = 20_000, 10_000  # a bucket of half a second: nobody is kept from the processor for so long
POLICY = """
policy p at {hook} on "lo" {{
  default pass  fragments first-only
  {rules}
}}
"""
FRAME = bytes(12) + b"\x08\x00" + bytes.fromhex("4500001c00000000401100000a0000010a000002") + bytes(8)
RUNS = 50_000


def loaded(rules: str) -> LoadedChain:
    with engines.Opened(engines.Case(POLICY.format(hook="xdp", rules=rules), ())) as opened:
        return load_chain(bundle.parse(opened.session.bundle()), "p")


def hammer(chain: LoadedChain, seconds: float) -> float:
    """Run the program on every processor at once, for so long; how long it was."""
    started = time.monotonic()
    children = []
    for cpu in os.sched_getaffinity(0):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.sched_setaffinity(0, {cpu})
                while time.monotonic() < started + seconds:
                    bpf.test_run(chain.program(), FRAME, RUNS)
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * len(children)
    return time.monotonic() - started


@pytest.mark.parametrize("key", ["", " per source", " per flow"])
def test_a_bucket_is_exact_on_many_processors(key: str) -> None:
    """Never more than burst + rate * time. Less only by packets that lose a race several times in a row."""
    with loaded(f"some: drop udp limit {RATE}/s burst {BURST}{key}") as chain:
        chain.set_clock(0)
        seconds = hammer(chain, 1.0)
        (_, _, (admitted, _), *_) = chain.counters()
        total = sum(packets for packets, _ in chain.counters())
    assert total > 2 * (BURST + RATE * seconds), "too few packets to exhaust the limit"
    assert admitted <= BURST + RATE * seconds + 1
    assert admitted >= BURST + RATE * seconds / 2


def test_a_sample_is_the_first_of_so_many() -> None:
    with loaded("some: drop udp log sample 1000") as chain:
        bpf.test_run(chain.program(), FRAME, 2_001)
        assert [packets for packets, _ in chain.counters()] == [0, 0, 2_001, 0]
        assert records(chain) == 3


def records(chain: LoadedChain) -> int:
    """How many events the ring holds."""
    from lockgate.runtime.sys.ring import Ring

    ring = Ring(chain.map("events"), 256 * 1024)
    try:
        return sum(1 for _ in ring.records())
    finally:
        ring.close()
