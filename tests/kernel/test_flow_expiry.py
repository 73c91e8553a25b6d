"""Dead flows go as new ones come, and a full table keeps what it has: real programs, whose clock is set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from lockgate.compiler.policy.model import Chain, Unit
from lockgate.engines import given
from lockgate.runtime import bundle, flowtable, testrun
from lockgate.runtime.sys import bpf
from lockgate.runtime.sys.netns import inside
from lockgate.runtime.sys.ring import Ring
from lockgate.stdlib_bpf.decode.frame import Frame
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state import flows
from lockgate.stdlib_bpf.state.counters import FIRST_RULE
from lockgate.stdlib_bpf.state.events import EVENT, PACKET, RING_BYTES, SILENT
from lockgate.stdlib_bpf.state.expiry import HANDS, LAG, RING, TICKET_BYTES
from tests import engines, netns
from tests.flowing import A4, A_IF, B4, IN, OUT, PODS, chain, endpoints, packet, rule, seen

pytestmark = pytest.mark.kernel

SERVED = chain(rule("allow", direction="ingress", dports=IntervalSet.of(80)), selections=(PODS,))
Say = Callable[[int, float], None]


@contextmanager
def loaded(policy: Chain, room: int = flows.MAX_FLOWS) -> Iterator[testrun.LoadedChain]:
    """The policy's programs; `room`: of the table of confirmed flows."""
    with ExitStack() as opened:
        name = netns.unique("lg-x")
        netns.run("ip", "netns", "add", name)
        opened.callback(netns.run, "ip", "netns", "del", name, check=False)
        made = opened.enter_context(engines.Opened(engines.Case("", ()), Unit(policy.span.source, (policy,))))
        built = bundle.parse(made.session.bundle())
        (one,) = built.manifest.chains
        maps = tuple(replace(m, max_entries=room) if m.name == flows.FLOWS else m for m in one.maps)
        manifest = replace(built.manifest, chains=(replace(one, maps=maps),))
        ends = ("link", "add", "name", "p", "index", str(A_IF), "type", "veth", "peer", "name", "q")
        netns.run("ip", "-n", name, *ends)
        with inside(name):
            chain_ = opened.enter_context(testrun.load_chain(replace(built, manifest=manifest), policy.name))
            chain_.know(endpoints())
            yield chain_


def converse(programs: testrun.LoadedChain, ports: range, at_s: float) -> set[str | None]:
    """A peer asks from each port, is answered, and asks again; who decided."""
    deciders = set()
    for port in ports:
        there, back = packet("udp", B4, port, A4, 80), packet("udp", A4, 80, B4, port)
        deciders |= say(programs, (there, IN), (back, OUT), (there, IN), at_s=at_s)
    return deciders


def say(programs: testrun.LoadedChain, *packets: tuple[Frame, str], at_s: float) -> set[str | None]:
    ran = programs.run([given(seen(frame, point, A_IF, at_s)) for frame, point in packets])
    assert None not in ran
    return {programs.chain.slots[one.slot].kind for one in ran if one is not None}


def ports_of(programs: testrun.LoadedChain, confirmed: bool = True) -> set[int]:
    return {
        key[6] for key, flow in programs.flows().items() if bool(flow.state & flows.CONFIRMED) == confirmed
    }


def pressure(programs: testrun.LoadedChain) -> flowtable.Pressure:
    return flowtable.pressure(programs.map(HANDS))


def test_dead_flows_go_as_new_ones_come() -> None:
    with loaded(SERVED) as programs:
        converse(programs, range(1000, 1300), 1.0)
        kept = range(1100, 1150)
        for port in kept:
            say(programs, (packet("udp", B4, port, A4, 80), IN), at_s=200.0)
        assert ports_of(programs) == {*range(1000, 1300)}
        converse(programs, range(2000, 2150), 400.0)  # 300 s of silence is the end
        assert ports_of(programs) == {*kept, *range(2000, 2150)}
        assert pressure(programs) == flowtable.Pressure(450, 450, 250, 0, 200)
        tickets = sum(1 for _ in bpf.map_items(programs.map(RING), TICKET_BYTES, flows.KEY.size))
        assert tickets == 200


def test_flows_that_fall_silent_are_told_of() -> None:
    logged = chain(rule("allow", direction="ingress", sample=1), selections=(PODS,))
    with loaded(logged) as programs:
        converse(programs, range(1000, 1002 + LAG), 1.0)
        fd = programs.map("events")
        ring = Ring(fd, RING_BYTES)
        try:
            assert {EVENT.unpack(record)["kind"] for record in ring.records()} == {PACKET}
            converse(programs, range(2000, 2001), 400.0)
            ends = [EVENT.unpack(record) for record in ring.records()]
        finally:
            ring.close()
    kinds = [(end["kind"], end["slot"]) for end in ends if end["kind"] != PACKET]
    assert kinds == [(SILENT, FIRST_RULE)] * 2


def test_a_key_that_comes_again_is_listed_once() -> None:
    with loaded(SERVED) as programs:
        for round_ in range(6):
            converse(programs, range(1000, 1000 + 2 * LAG), 1.0 + 400 * round_)
        assert ports_of(programs) == {*range(1000, 1000 + 2 * LAG)}
        assert pressure(programs).listed <= 3 * LAG


def test_a_full_table_keeps_its_flows_and_takes_new_ones_when_some_end() -> None:
    """New conversations go on in the other table, where only a flood reaches them."""
    room = 256
    with loaded(SERVED, room) as programs:
        first = range(1000, 1000 + room)
        assert converse(programs, first, 1.0) == {"rule", "known flow"}
        late = range(3000, 3100)
        assert converse(programs, late, 2.0) == {"rule", "known flow"}
        assert ports_of(programs) == {*first} and ports_of(programs, False) == {*late}
        assert pressure(programs).no_room == len(late)
        for port in first:  # and still there
            assert say(programs, (packet("udp", B4, port, A4, 80), IN), at_s=200.0) == {"known flow"}
        converse(programs, late, 200.0)
        assert ports_of(programs) == {*first}
        # All have been silent for too long: who comes now finds some of them, and soon there is room.
        converse(programs, range(4000, 4200), 600.0)
        assert len(ports_of(programs) & {*range(4000, 4200)}) > 150
        assert pressure(programs).removed > 200
