"""What packets cost a compiled chain in this kernel, net of a program that answers at once. Needs root.

Frames run in a network namespace of its own, whose loopback device is down: what a rule sends there goes
nowhere. Each group of them is a pool of its own, much larger than branch predictors remember, in front of the
chain's program and of one that does nothing, in turns. Socket calls are made (`runtime.callcost`).
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from lockgate.compiler.codegen.simulate import Packet
from lockgate.compiler.policy.model import Prefixes
from lockgate.engines import prefixes
from lockgate.runtime import callcost, coldrun, testrun
from lockgate.runtime.bundle import Bundle
from lockgate.runtime.connectrun import ConnectRunner
from lockgate.runtime.plan import map_key
from lockgate.runtime.sys import netns
from lockgate.runtime.sys.ring import Ring
from lockgate.runtime.wirerun import LOOPBACK_IFINDEX
from lockgate.stdlib_bpf import hooks
from lockgate.stdlib_bpf.decode.frame import Frame
from lockgate.stdlib_bpf.decode.sock_addr import SocketCall
from lockgate.stdlib_bpf.state.events import RING_BYTES

POOL = 1 << 16  # packets
ROUNDS = 15


@dataclass(frozen=True)
class Measured:
    """`ns`: of a packet, by the name of its group, medians over rounds; `bytes`: of all maps; `load_ms`: to
    load the chain, tables and all."""

    ns: dict[str, float]
    bytes: int
    load_ms: float


def measure(
    bundle: Bundle,
    chain: str,
    groups: Mapping[str, Sequence[Packet]],
    live: Mapping[str, Prefixes],
    rounds: int = ROUNDS,
) -> Measured:
    """Load a chain of a bundle and measure it on groups of frames or of calls, none empty. The errors of
    `runtime.loader`."""
    calls = {name: [one for one in group if isinstance(one, SocketCall)] for name, group in groups.items()}
    if all(calls.values()):
        return _called(bundle, chain, calls, live, rounds)
    return _run(bundle, chain, frames_of(groups), live, rounds)


def frames_of(groups: Mapping[str, Sequence[Packet]]) -> dict[str, list[bytes]]:
    """The bytes of the frames in each group."""
    return {name: [one.data for one in group if isinstance(one, Frame)] for name, group in groups.items()}


def _called(
    bundle: Bundle,
    chain: str,
    groups: Mapping[str, Sequence[SocketCall]],
    live: Mapping[str, Prefixes],
    rounds: int,
) -> Measured:
    started = time.perf_counter()
    with ConnectRunner(bundle, chain) as runner:
        load_ms = (time.perf_counter() - started) * 1000
        for name, contents in live.items():
            runner.chain.set_live(name, list(prefixes(contents)))
        found = callcost.measure(runner, groups, rounds)
        ns = {name: statistics.median(each) for name, each in found.items() if each}
        return Measured(ns, runner.chain.map_bytes(), load_ms)


def _run(
    bundle: Bundle,
    chain: str,
    groups: Mapping[str, Sequence[bytes]],
    live: Mapping[str, Prefixes],
    rounds: int,
) -> Measured:
    with netns.fresh(), ExitStack() as stack:
        started = time.perf_counter()
        loaded = stack.enter_context(testrun.load_chain(bundle, chain, device=LOOPBACK_IFINDEX))
        load_ms = (time.perf_counter() - started) * 1000
        for name, contents in live.items():
            loaded.set_live(name, list(prefixes(contents)))
        hook = hooks.ALL[loaded.chain.hook]
        floor = stack.enter_context(coldrun.constant("pass", hook))
        runs = {}
        for name, frames in groups.items():
            pool = pooled(frames)
            for what, program in (("floor", floor), ("chain", loaded.program())):
                front = stack.enter_context(coldrun.stamping(program, pool, coldrun.WHOLE_FRAME, hook))
                runs[name, what] = coldrun.running(front, frames[0])
        found = coldrun.alternate(runs, rounds, _draining(loaded, stack))
        return Measured({name: net(found, name) for name in groups}, loaded.map_bytes(), load_ms)


def pooled(frames: Sequence[bytes], count: int = POOL) -> list[bytes]:
    """Stamps of so many packets, of frames in random order."""
    return random.Random("pool").choices(stamps(frames), k=count)


def stamps(frames: Sequence[bytes]) -> list[bytes]:
    """Frames as the generator takes them."""
    return [frame[: coldrun.FRAME_BYTES].ljust(coldrun.WHOLE_FRAME.size, b"\0") for frame in frames]


def net(found: Mapping[tuple[str, str], Sequence[float]], name: str) -> float:
    """The middle of the differences within each round."""
    pairs = zip(found[name, "chain"], found[name, "floor"], strict=True)
    return statistics.median(chain - floor for chain, floor in pairs)


def _draining(loaded: testrun.LoadedChain, stack: ExitStack) -> Callable[[], object]:
    """What empties the chain's ring of events, so that none finds it full for long."""
    keys = [map_key(loaded.chain.name, one) for one in loaded.chain.maps if one.role == "events"]
    rings = [Ring(loaded.map(key), RING_BYTES) for key in keys]
    for ring in rings:
        stack.callback(ring.close)
    return lambda: [list(ring.records()) for ring in rings]
