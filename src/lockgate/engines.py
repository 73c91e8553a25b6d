"""The five meanings of a policy behind one signature: packets in, decisions out.

The only module besides the command line that knows both halves: the kernel engine compiles a bundle and runs
it. Each engine judges the packets of one chain, with the given contents of dynamic sets. None stands for a
packet that an engine cannot run (the kernel takes no frame under 14 bytes).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence

from lockgate.compiler import policy
from lockgate.compiler.codegen.simulate import Frame, Packet
from lockgate.compiler.decision import DEFAULT, MALFORMED, Decision
from lockgate.compiler.driver import Session
from lockgate.compiler.match.run import run as run_match
from lockgate.compiler.plan.run import Runner
from lockgate.compiler.policy.model import Chain, Prefixes
from lockgate.stdlib_bpf.decode.frame import Facts, Malformed
from lockgate.stdlib_bpf.decode.frame import decode as decode_frame
from lockgate.stdlib_bpf.decode.sock_addr import SocketCall
from lockgate.stdlib_bpf.decode.sock_addr import decode as decode_call
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state import counters

Live = Mapping[str, Prefixes]
Engine = Callable[[Session, Chain, Sequence[Packet], Live], list[Decision | None]]


def facts_of(packet: Packet) -> Facts | Malformed:
    """What a packet says, by the reference decoders."""
    if isinstance(packet, SocketCall):
        return decode_call(packet)
    frame = packet if isinstance(packet, Frame) else Frame(packet)
    return decode_frame(frame.data, frame.vlan_in_metadata)


def interp(session: Session, chain: Chain, packets: Sequence[Packet], live: Live) -> list[Decision | None]:
    """The reference: `policy.decide` on the checked policy."""
    return [policy.decide(chain, facts_of(p), live) for p in packets]


def match(session: Session, chain: Chain, packets: Sequence[Packet], live: Live) -> list[Decision | None]:
    """The match IR after all passes."""
    program = session.optimised(chain)
    return [run_match(program, facts_of(p), live) for p in packets]


def plan(session: Session, chain: Chain, packets: Sequence[Packet], live: Live) -> list[Decision | None]:
    """The plan IR, its tables read from their images."""
    runner = Runner(session.plan(chain))
    return [runner.run(facts_of(p), live) for p in packets]


def native(session: Session, chain: Chain, packets: Sequence[Packet], live: Live) -> list[Decision | None]:
    """The generated code on this machine, without root and without a kernel that knows BPF."""
    with session.native(chain) as program:
        program.set_live({name: (contents.v4, contents.v6) for name, contents in live.items()})
        return [*program.run(packets)]


def kernel(session: Session, chain: Chain, packets: Sequence[Packet], live: Live) -> list[Decision | None]:
    """The bytecode in this kernel: BPF_PROG_TEST_RUN for frames, real sockets in a throw-away cgroup at
    connect. Frames are taken as they are, wholly linear and with their tags in the frame."""
    from lockgate.runtime import bundle, connectrun, testrun

    compiled = bundle.parse(session.bundle())
    prefixes = {name: list(_prefixes(contents)) for name, contents in live.items()}
    if chain.hook == "connect":
        with connectrun.ConnectRunner(compiled, chain.name) as runner:
            for name, contents in prefixes.items():
                runner.chain.set_live(name, contents)
            calls = [p for p in packets if isinstance(p, SocketCall)]
            return [_decision(runner.chain.chain.slots, c.slot) for c in runner.run(calls)]
    with testrun.load_chain(compiled, chain.name) as loaded:
        for name, contents in prefixes.items():
            loaded.set_live(name, contents)
        frames = [p.data if isinstance(p, Frame) else p for p in packets if not isinstance(p, SocketCall)]
        return [_decision(loaded.chain.slots, r.slot if r else None) for r in loaded.run(frames)]


def _decision(slots: Sequence[object], slot: int | None) -> Decision | None:
    if slot is None:
        return None
    rule = {counters.MALFORMED: MALFORMED, counters.DEFAULT: DEFAULT}.get(slot, slot - counters.FIRST_RULE)
    return Decision(getattr(slots[slot], "verdict", None) or "", rule)


def _prefixes(contents: Prefixes) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    yield from (ipaddress.IPv4Network(p) for p in _pairs(contents.v4, 32))
    yield from (ipaddress.IPv6Network(p) for p in _pairs(contents.v6, 128))


def _pairs(values: IntervalSet, width: int) -> Iterator[tuple[int, int]]:
    return values.prefixes(width)


ENGINES: dict[str, Engine] = {
    "interp": interp,
    "match": match,
    "plan": plan,
    "native": native,
    "kernel": kernel,
}
