"""Sequences of packets in time: the reference of flows, the generated code natively, and in the kernel.

Few addresses and ports, so that packets meet; times on both sides of every limit; records that change between
packets. Decisions and, at the end, the flows themselves must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lockgate.compiler.codegen.simulate import EPOCH_NS
from lockgate.compiler.decision import Decision
from lockgate.compiler.plan.parts import PART_INSNS
from lockgate.compiler.policy import decide
from lockgate.compiler.policy.model import Chain, FieldTest, Prefixes, Selected, Traffic, Union, Unit
from lockgate.compiler.stateful import Stateful
from lockgate.engines import given as as_given
from lockgate.stdlib_bpf.decode.frame import Frame
from lockgate.stdlib_bpf.labels import CLUSTER
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state import flows
from lockgate.stdlib_bpf.state.endpoints import Endpoints
from tests import netns
from tests.engines import Case, Opened
from tests.flowing import (
    A4,
    A6,
    A_IF,
    B4,
    B6,
    B_IF,
    HOST4,
    HOST6,
    HOST_IN,
    HOST_OUT,
    IN,
    NODE4,
    OUT,
    PODS,
    WORLD4,
    WORLD6,
    chain,
    endpoints,
    error,
    icmp,
    packet,
    rule,
    seen,
)

ADDRESSES = {4: (A4, B4, HOST4, NODE4, WORLD4, "0.0.0.0", "224.0.0.1"), 6: (A6, B6, HOST6, WORLD6, "fe80::1")}
PORTS = (80, 81, 5000)
FLAGS = ("syn", "syn,ack", "ack", "fin,ack", "rst", "rst,ack", "syn,fin", "fin", "none", "syn,rst")
# Seconds between packets: none, and both sides of each limit.
GAPS_S = sorted(
    {0.0, 1.0}
    | {
        second + by
        for second in (*(s for three in flows.SILENCE_S.values() for s in three), 10, 120, 240)
        for by in (-0.5, 0.0)
    }
)
STRICT = FieldTest("flow.opens", IntervalSet.of(1))
UDP, TCP = Traffic(protocols=IntervalSet.of(17)), Traffic(protocols=IntervalSet.of(6))
TEN = Prefixes(IntervalSet.of((10 << 24, (11 << 24) - 1)))
SELECTIONS = (PODS, CLUSTER)

POLICIES: dict[str, Chain] = {
    "strict": chain(
        rule("drop", direction="ingress", dports=IntervalSet.of(81)),
        rule("allow", direction="ingress", src=Selected(0), where=STRICT),
        rule(
            "allow", direction="egress", dst=Union(Selected(1), TEN), where=STRICT, dports=IntervalSet.of(80)
        ),
        selections=SELECTIONS,
    ),
    "loose": chain(
        rule("drop", src=Selected(1), traffic=(UDP,), direction="ingress"),
        default="allow",
        selections=SELECTIONS,
    ),
    "stateless": chain(
        rule("allow", traffic=(UDP,), lasts=flows.STATELESS, dports=IntervalSet.of(80)),
        rule("allow", traffic=(TCP,), src=TEN, direction="egress", where=STRICT),
        rule("allow", traffic=(Traffic(protocols=IntervalSet.of(1, 58)),), where=STRICT),
        selections=SELECTIONS,
    ),
}
POLICIES["kept"] = replace(
    POLICIES["strict"],
    rules=tuple(
        replace(r, lasts=flows.KEPT) if r.verdict == "allow" else r for r in POLICIES["strict"].rules
    ),
)
POLICIES["strict in parts"] = POLICIES["strict"]
POLICIES["fast, with logs"] = replace(
    POLICIES["loose"],
    forward="fast",
    rules=tuple(replace(one, sample=1) for one in POLICIES["loose"].rules),
)
IN_PARTS = {"strict in parts": 25}  # instructions of a part
MEMBERS = (frozenset({0, 1}), frozenset({1}), frozenset())


@dataclass(frozen=True)
class Step:
    """A packet and the time since the last one; `b`: which selections take pod b from now on."""

    frame: Frame
    gap_s: float
    b: frozenset[int]


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    family = draw(st.sampled_from((4, 4, 6)))
    src, dst = (draw(st.sampled_from(ADDRESSES[family])) for _ in range(2))
    if draw(st.integers(0, 3)):  # most are between the pods
        src, dst = draw(st.permutations(ADDRESSES[family][:2]))
    sport, dport = (draw(st.sampled_from(PORTS)) for _ in range(2))
    if draw(st.booleans()):
        sport, dport = draw(st.permutations((80, 5000)))
    kind = draw(
        st.sampled_from(
            ("tcp", "tcp", "tcp", "udp", "sctp", "echo", "icmp", "error", "gre", "arp", "neighbour")
        )
    )
    match kind:
        case "tcp":
            return packet("tcp", src, sport, dst, dport, draw(st.sampled_from(FLAGS)))
        case "udp" | "sctp":
            return packet(kind, src, sport, dst, dport)
        case "echo":
            return icmp(src, dst, draw(st.sampled_from((8, 0) if family == 4 else (128, 129))), sport)
        case "icmp":
            return icmp(src, dst, draw(st.sampled_from((5, 13) if family == 4 else (130, 137))), sport)
        case "error":
            about = packet(draw(st.sampled_from(("tcp", "udp"))), dst, dport, src, sport)
            if draw(st.booleans()):
                about = icmp(dst, src, draw(st.sampled_from((8, 0) if family == 4 else (128, 129))), sport)
            if not draw(st.integers(0, 4)):
                about = Frame(about.data[: draw(st.integers(14, len(about.data)))])
            types = (3, 11, 12, 5) if family == 4 else (1, 2, 3, 4, 137)
            sender = draw(st.sampled_from((src, ADDRESSES[family][-2])))
            return error(sender, dst, about, draw(st.sampled_from(types)))
        case "gre":
            return engines_packet(f"{bracket(src)} > {bracket(dst)} protocol 47")
        case "arp":
            return engines_packet("arp")
    type_, ttl = draw(st.sampled_from((133, 136, 137))), draw(st.sampled_from((255, 64)))
    return engines_packet(f"icmp6 [{A6}] > [{B6}] type {type_} ttl {ttl}")


def bracket(text: str) -> str:
    return f"[{text}]" if ":" in text else text


def engines_packet(text: str) -> Frame:
    from lockgate.compiler.packet import parse

    found = parse(text)
    assert isinstance(found, Frame)
    return found


@st.composite
def steps(draw: st.DrawFn) -> Step:
    frame = draw(frames())
    point = draw(st.sampled_from((IN, OUT, IN, OUT, HOST_IN, HOST_OUT)))
    ifindex = draw(st.sampled_from((A_IF, A_IF, A_IF, B_IF, UNKNOWN_IF)))
    gap = draw(st.sampled_from([0.0] * len(GAPS_S) + GAPS_S))
    b = draw(st.sampled_from((MEMBERS[0],) * 6 + MEMBERS[1:]))
    return Step(seen(frame, point, ifindex), gap, b)


UNKNOWN_IF = 12


def timed(sequence: Sequence[Step]) -> list[tuple[Frame, Endpoints]]:
    """Packets with their times, and the records that hold when each comes."""
    now, version, before, out = 0.0, 0, MEMBERS[0], []
    for step in sequence:
        now += step.gap_s
        version += step.b != before
        before = step.b
        out.append((replace(step.frame, time_ns=round(now * 1e9)), known(version, step.b)))
    return out


def known(version: int, b: frozenset[int]) -> Endpoints:
    return endpoints(version, MEMBERS[0], b)


class Engines:
    """Generated code of a policy, natively and, where that can be, in the kernel."""

    def __init__(self, name: str, stack: Callable[[object], object], kernel: bool) -> None:
        policy = POLICIES[name]
        case = Case("", (), part_insns=IN_PARTS.get(name, PART_INSNS))
        opened = stack(Opened(case, Unit(policy.span.source, (policy,))))
        assert isinstance(opened, Opened)
        self.policy = policy
        self.native = stack(opened.session.native(policy))
        self.loaded = None
        if kernel:
            from lockgate.runtime import bundle
            from lockgate.runtime.testrun import load_chain

            self.loaded = stack(load_chain(bundle.parse(opened.session.bundle()), policy.name))

    def reference(self, packets: Sequence[tuple[Frame, Endpoints]]) -> tuple[list[Decision], Stateful]:
        """What must come out, and the flows at the end."""
        state = Stateful.of(self.policy, Endpoints())
        out = []
        for frame, who in packets:
            state.endpoints = who
            out.append(state.decide(frame, lambda facts: decide(self.policy, facts, {})))
        return out, state

    def check(self, sequence: Sequence[Step]) -> None:
        """Every engine, on one sequence."""
        packets = timed(sequence)
        expected, state = self.reference(packets)
        self.native.forget()
        got = []
        for frame, who in packets:
            self.native.know(who)
            got += self.native.run([frame])
        assert got == expected
        assert comparable(self.native.flows(), EPOCH_NS) == comparable(state.flows, 0)
        if self.loaded is None:
            return
        self.loaded.forget()
        ran = []
        for frame, who in packets:
            self.loaded.know(who)
            ran += self.loaded.run([as_given(frame)])
        assert None not in ran
        slots = self.loaded.chain.slots
        assert [decided(slots, one) for one in ran] == expected
        assert comparable(self.loaded.flows(), EPOCH_NS) == comparable(state.flows, 0)


def decided(slots: Sequence[object], one: object) -> Decision:
    from lockgate.engines import decision_of

    found = decision_of(slots, one.slot, one.passed)  # type: ignore[attr-defined, arg-type]
    assert found is not None
    return found


def comparable(table: dict[flows.Key, flows.Flow], epoch_ns: int) -> dict[flows.Key, tuple[object, ...]]:
    """What of flows can be compared: not the epoch, whose numbers are each engine's own."""
    return {
        key: (f.state, f.opener, f.kind, f.since_ns - epoch_ns, f.seen_ns - epoch_ns, f.packets, f.bytes)
        for key, f in table.items()
    }


def between(flags: str, forth: bool = True, gap_s: float = 0.0, b: frozenset[int] = MEMBERS[0]) -> Step:
    """A packet of the connection that pod b opens to pod a."""
    ends = (B4, 5000, A4, 80) if forth else (A4, 80, B4, 5000)
    return Step(seen(packet("tcp", *ends, flags), IN if forth else OUT, A_IF), gap_s, b)


HANDSHAKE = [between("syn"), between("syn,ack", False), between("ack")]
WHOLE = [*HANDSHAKE, between("fin,ack"), between("fin,ack", False), between("ack"), between("syn", gap_s=1)]
AGAIN = [*HANDSHAKE, between("ack", False, b=MEMBERS[1]), between("ack", False, b=MEMBERS[2])]
CLOSED = WHOLE[:-1]


def one(frame: Frame, point: str, gap_s: float = 0.0, b: frozenset[int] = MEMBERS[0]) -> Step:
    return Step(seen(frame, point, A_IF), gap_s, b)


THERE, BACK = packet("udp", B4, 5000, A4, 80), packet("udp", A4, 80, B4, 5000)
OUTWARD = packet("tcp", A4, 5000, WORLD4, 80, "syn")
# What chance hardly finds.
SCENARIOS: list[list[Step]] = [
    WHOLE,
    AGAIN,
    [*CLOSED, between("ack", gap_s=100), between("ack", gap_s=100)],
    [*HANDSHAKE, between("ack", gap_s=7440)],
    [*HANDSHAKE, between("rst"), between("ack", False, gap_s=9), between("ack", False, gap_s=1)],
    [*HANDSHAKE, between("rst"), between("ack", gap_s=9), between("ack", gap_s=100)],
    [*HANDSHAKE, between("syn"), between("syn", False), between("ack")],
    [between("syn"), between("syn", False), between("syn,ack"), between("syn,ack", False), between("ack")],
    [one(THERE, IN), one(BACK, OUT), one(THERE, IN, 119), one(BACK, OUT, 299)],
    [one(THERE, IN), one(error(WORLD4, A4, BACK), IN), one(error(WORLD4, B4, BACK), IN)],
    [one(THERE, IN), one(error(A4, B4, THERE), OUT), one(error(HOST4, B4, THERE), OUT)],
    [one(THERE, IN), one(error(WORLD4, A4, BACK), IN, b=MEMBERS[1])],
    [one(OUTWARD, OUT), one(packet("tcp", WORLD4, 80, A4, 5000, "syn,ack"), IN, b=MEMBERS[1])],
    [one(icmp(B4, A4, 8, 7), IN), one(icmp(A4, B4, 0, 7), OUT), one(icmp(A4, B4, 8, 7), OUT)],
    [one(packet("udp", HOST4, 9, A4, 9), IN), one(packet("udp", A4, 9, HOST4, 9), OUT, b=MEMBERS[1])],
    [one(packet("udp", HOST4, 9, A4, 9), HOST_OUT), one(packet("udp", HOST4, 9, NODE4, 9), HOST_OUT)],
    [
        one(packet("udp", WORLD4, 9, "224.0.0.1", 9), HOST_IN),
        one(packet("udp", WORLD4, 9, NODE4, 9), HOST_IN),
    ],
    [one(engines_packet(f"icmp6 [{A6}] > [{B6}] type 135 ttl {ttl}"), OUT) for ttl in (255, 64)],
    [one(packet("udp", src, 9, B4, 80), OUT) for src in (A4, NODE4, "0.0.0.0", "169.254.7.7")],
]


def told(test: Callable[..., None]) -> Callable[..., None]:
    """The test, on the scenarios, too."""
    for sequence in SCENARIOS:
        test = example(sequence=sequence)(test)
    return test


@pytest.fixture(scope="module")
def stack() -> Iterator[Callable[[object], object]]:
    from contextlib import ExitStack

    with ExitStack() as one:
        yield one.enter_context  # type: ignore[misc]


_made: dict[tuple[str, bool], Engines] = {}


def engines_of(name: str, kernel: bool, stack: Callable[[object], object]) -> Engines:
    if (name, kernel) not in _made:
        _made[name, kernel] = Engines(name, stack, kernel)
    return _made[name, kernel]


@pytest.mark.parametrize("name", POLICIES)
@given(sequence=st.lists(steps(), max_size=14))
@told
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_natively(name: str, stack: Callable[[object], object], sequence: list[Step]) -> None:
    engines_of(name, False, stack).check(sequence)


@pytest.fixture(scope="module")
def interfaces() -> Iterator[None]:
    """A network namespace with the interfaces that packets are at."""
    from lockgate.runtime.sys.netns import inside

    name = netns.unique("lg-f")
    netns.run("ip", "netns", "add", name)
    try:
        for index in (A_IF, B_IF, UNKNOWN_IF):
            ends = ("link", "add", "name", f"p{index}", "index", str(index), "type", "veth", "peer", "name")
            netns.run("ip", "-n", name, *ends, f"q{index}")
        with inside(name):
            yield
    finally:
        netns.run("ip", "netns", "del", name, check=False)


@pytest.mark.kernel
@pytest.mark.parametrize("name", POLICIES)
@given(sequence=st.lists(steps(), max_size=14))
@told
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_in_the_kernel(
    name: str, stack: Callable[[object], object], interfaces: None, sequence: list[Step]
) -> None:
    engines_of(name, True, stack).check(sequence)
