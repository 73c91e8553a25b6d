"""The five meanings of a policy behind one signature: packets in, decisions out.

The only module besides the command line that knows both halves: the kernel engine compiles a bundle and runs
it. Each engine judges the packets of one chain, with the given contents of dynamic sets. None stands for a
packet that an engine cannot run (the kernel takes no frame under 14 bytes).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from lockgate.compiler import policy
from lockgate.compiler.codegen.simulate import EPOCH_NS, Packet
from lockgate.compiler.decision import Decision, Seen, decider
from lockgate.compiler.driver import Session
from lockgate.compiler.match.run import run as run_match
from lockgate.compiler.plan.run import Runner
from lockgate.compiler.policy.model import Chain, Prefixes
from lockgate.stdlib_bpf import manifest
from lockgate.stdlib_bpf.decode.frame import Facts, Frame, Malformed
from lockgate.stdlib_bpf.decode.frame import decode as decode_frame
from lockgate.stdlib_bpf.decode.sock_addr import SocketCall
from lockgate.stdlib_bpf.decode.sock_addr import decode as decode_call
from lockgate.stdlib_bpf.state import counters
from lockgate.stdlib_bpf.state.fragments import Datagrams
from lockgate.stdlib_bpf.state.limits import Buckets

if TYPE_CHECKING:
    from lockgate.runtime import testrun

Live = Mapping[str, Prefixes]
Engine = Callable[[Session, Chain, Sequence[Packet], Live], list[Decision | None]]


def facts_of(packet: Packet) -> Facts | Malformed:
    """What a packet says, by the reference decoders, and what comes along with it."""
    if isinstance(packet, SocketCall):
        return decode_call(packet)
    return decode_frame(packet)


def seen_by(chain: Chain, packets: Sequence[Packet]) -> list[Seen]:
    """What a chain sees of packets that come one after the other."""
    datagrams = Datagrams()
    facts = [facts_of(p) for p in packets]
    return [f if isinstance(f, Malformed) else datagrams.resolve(chain.fragments, f) for f in facts]


def interp(session: Session, chain: Chain, packets: Sequence[Packet], live: Live) -> list[Decision | None]:
    """The reference: `policy.decide` on the checked policy."""
    buckets = Buckets()
    return [policy.decide(chain, s, live, buckets) for s in seen_by(chain, packets)]


def match(session: Session, chain: Chain, packets: Sequence[Packet], live: Live) -> list[Decision | None]:
    """The match IR after all passes."""
    program, buckets = session.optimised(chain), Buckets()
    return [run_match(program, s, live, buckets) for s in seen_by(chain, packets)]


def plan(session: Session, chain: Chain, packets: Sequence[Packet], live: Live) -> list[Decision | None]:
    """The plan IR, its tables read from their images."""
    runner, buckets = Runner(session.plan(chain)), Buckets()
    return [runner.run(s, live, buckets) for s in seen_by(chain, packets)]


def native(session: Session, chain: Chain, packets: Sequence[Packet], live: Live) -> list[Decision | None]:
    """The generated code on this machine, without root and without a kernel that knows BPF."""
    with session.native(chain) as program:
        program.set_live({name: (contents.v4, contents.v6) for name, contents in live.items()})
        return [*program.run(packets)]


def kernel(session: Session, chain: Chain, packets: Sequence[Packet], live: Live) -> list[Decision | None]:
    """The bytecode in this kernel: BPF_PROG_TEST_RUN for frames, real sockets in a throw-away cgroup at
    connect. Frames are wholly linear there, and a tag in metadata cannot be asked about."""
    from lockgate.runtime import bundle, connectrun, testrun

    compiled = bundle.parse(session.bundle())
    held = {name: list(prefixes(contents)) for name, contents in live.items()}
    if chain.hook == "connect":
        with connectrun.ConnectRunner(compiled, chain.name) as runner:
            for name, contents in held.items():
                runner.chain.set_live(name, contents)
            calls = [p for p in packets if isinstance(p, SocketCall)]
            called = runner.run(calls, EPOCH_NS)
            return [decision_of(runner.chain.chain.slots, c.slot, c.passed) for c in called]
    with testrun.load_chain(compiled, chain.name) as loaded:
        for name, contents in held.items():
            loaded.set_live(name, contents)
        frames = [given(p) for p in packets if not isinstance(p, SocketCall)]
        ran = loaded.run(frames)
        return [decision_of(loaded.chain.slots, r.slot, r.passed) if r else None for r in ran]


def given(packet: bytes | Frame) -> testrun.Given:
    """A frame as the kernel's test run takes it."""
    from lockgate.runtime import testrun

    frame = packet if isinstance(packet, Frame) else Frame(packet)
    return testrun.Given(
        frame.data,
        frame.segments,
        frame.time_ns + EPOCH_NS,
        frame.mark,
        frame.iif,
        frame.first_buffer,
        frame.point,
        frame.ifindex,
    )


def decision_of(slots: Sequence[manifest.Slot], slot: int | None, passed: tuple[int, ...]) -> Decision | None:
    """The decision that counters tell of; None where no rule and nothing else was counted."""
    if slot is None:
        return None
    rule = decider(slots[slot].kind, slot)
    return Decision(slots[slot].verdict or "", rule, tuple(s - counters.FIRST_RULE for s in passed))


def prefixes(contents: Prefixes) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Both families as networks."""
    yield from (ipaddress.IPv4Network(pair) for pair in contents.v4.prefixes(32))
    yield from (ipaddress.IPv6Network(pair) for pair in contents.v6.prefixes(128))


ENGINES: dict[str, Engine] = {
    "interp": interp,
    "match": match,
    "plan": plan,
    "native": native,
    "kernel": kernel,
}
