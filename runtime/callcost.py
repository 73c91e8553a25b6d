"""What the programs of a connect chain cost a socket call, by the kernel's own statistics.

The kernel has no test run for them, so calls are real: a process in a throw-away cgroup makes them, and the
kernel times every run of every program (BPF_ENABLE_STATS). A program that allows at once stands behind each
of the chain's and is timed by the same calls: that is what the timing itself costs. Nothing is left behind.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from lockgate.stdlib_bpf import hooks
from lockgate.stdlib_bpf.decode.sock_addr import SocketCall

from . import coldrun
from .connectrun import ConnectRunner
from .sys import bpf
from .sys.fd import Fd

CALLS, SLICES = (
    64,
    8,
)  # of a group in a slice, slices in a round: short ones, since one interruption spoils one


def measure(
    runner: ConnectRunner, groups: Mapping[str, Sequence[SocketCall]], rounds: int
) -> dict[str, list[float]]:
    """ns of a call beyond a program that allows at once, SLICES of each group a round; fewer where no
    program ran for any call of a slice. The errors of `sys.bpf`."""
    draw, found = random.Random("calls"), {name: list[float]() for name in groups}
    hook = hooks.ALL[runner.chain.chain.hook]
    points = {point.name: point for point in hook.points[""]}
    with ExitStack() as stack:
        ours = [runner.chain.program(i) for i in range(len(runner.chain.chain.functions))]
        floor = [
            stack.enter_context(coldrun.constant("allow", hook, points[function.point]))
            for function in runner.chain.chain.functions
        ]
        stack.enter_context(runner.beside(floor))
        stack.enter_context(bpf.stats_enable())
        for _ in range(rounds * SLICES):
            for name, calls in groups.items():
                before = _told(ours), _told(floor)
                for call in draw.choices(calls, k=CALLS):
                    runner.call(call)
                spent = [_mean(then, _told(p)) for then, p in zip(before, (ours, floor), strict=True)]
                if None not in spent:
                    found[name].append((spent[0] or 0.0) - (spent[1] or 0.0))
    return found


def _told(programs: Sequence[Fd]) -> tuple[int, int]:
    """(ns, runs) of all of them."""
    each = [bpf.prog_stats(program) for program in programs]
    return sum(ns for ns, _ in each), sum(runs for _, runs in each)


def _mean(before: tuple[int, int], after: tuple[int, int]) -> float | None:
    """ns of one run in between; None where there was none."""
    runs = after[1] - before[1]
    return (after[0] - before[0]) / runs if runs else None
