"""Packets between the endpoints of a test, through an engine: judged at one end after the other.

Each endpoint is judged on a node of its own. A packet begins a flow, and an answer goes on with that of the
packet before it; limits remember them all. Knows tests and engines; must never know text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from lockgate.compiler import policy
from lockgate.compiler.decision import Decision
from lockgate.compiler.driver import Session
from lockgate.compiler.match.run import run as run_match
from lockgate.compiler.plan.run import Runner
from lockgate.compiler.policy.between import POINT_OF
from lockgate.compiler.policy.model import Chain, End, Expect, Party, Prefixes
from lockgate.compiler.stateful import Ask, Stateful
from lockgate.stdlib_bpf.decode.frame import Frame, decode
from lockgate.stdlib_bpf.inventory import Inventory, numbered, records
from lockgate.stdlib_bpf.labels import HOST, Selection
from lockgate.stdlib_bpf.state.endpoints import THIS_HOST, Endpoints, Record
from lockgate.stdlib_bpf.state.limits import Buckets

from . import engines

if TYPE_CHECKING:
    from lockgate.compiler.codegen.simulate import NativeChain
    from lockgate.runtime.testrun import LoadedChain

IFINDEX = 1  # of the interface at which a test's workload is judged: the kernel's test run wants a real one

Live = Mapping[str, Prefixes]


class Node(Protocol):
    """What judges the packets of one node."""

    def decide(self, frame: Frame) -> Decision:
        """The decision about a packet, with the flows that are known."""

    def forget(self) -> None:
        """No flow is known any more."""


Engine = Callable[[Endpoints], Node]


@dataclass
class Passage:
    """One run of a test. `engine`: what judges the packets of a node where such endpoints are known."""

    selections: tuple[Selection, ...]
    parties: Mapping[str, Party]
    engine: Engine
    _nodes: dict[str, Node] = field(default_factory=dict)

    def __call__(self, expect: Expect) -> Decision:
        """The decision about a packet: of the first end that stops it, or else of the last one."""
        assert isinstance(expect.packet, Frame) and expect.ends
        for node in self._nodes.values() if not expect.answers else ():
            node.forget()
        for end in expect.ends:
            frame = replace(expect.packet, point=end.point, ifindex=IFINDEX, time_ns=expect.time_ns)
            found = self._node(end).decide(frame)
            if found.verdict != "allow":
                break
        return found

    def _node(self, end: End) -> Node:
        if end.party not in self._nodes:
            me = self.parties[end.party]
            self._nodes[end.party] = self.engine(node_of(me, self.parties.values(), self.selections))
        return self._nodes[end.party]


@dataclass(frozen=True)
class Judged:
    """What one end says: the endpoint's name, the direction that it sees, and its decision."""

    name: str
    direction: str
    decision: Decision


class Between:
    """Packets between the endpoints of an inventory, each judged where it is sent and where it arrives, as
    far as those are endpoints; each on a node of its own."""

    def __init__(self, inventory: Inventory, selections: tuple[Selection, ...], engine: Engine) -> None:
        self.addresses = records(inventory, selections).addresses
        numbers = numbered(entry.title for entry in inventory.entries)
        self.names = {number: title for title, number in numbers.items()}
        self.engine = engine
        self._nodes: dict[int, Node] = {}

    def __call__(self, frame: Frame, direction: str | None = None) -> list[Judged]:
        """What the ends of a packet say, up to the first that stops it. `direction`: of the only one that is
        asked."""
        found: list[Judged] = []
        for way, record in self.ends(frame):
            if direction not in (None, way):
                continue
            at = replace(frame, point=POINT_OF[way, record.kind], ifindex=IFINDEX)
            found.append(Judged(self.names[record.endpoint], way, self.node(record).decide(at)))
            if found[-1].decision.verdict != "allow":
                break
        return found

    def ends(self, frame: Frame) -> list[tuple[str, Record]]:
        """The endpoints that a packet is between, with the direction that each sees."""
        facts = decode(frame)
        found = []
        for way, side in (("egress", "src"), ("ingress", "dst")) if isinstance(facts, dict) else ():
            assert isinstance(facts, dict)
            address = next(((f, facts[f"ip{f}.{side}"]) for f in (4, 6) if f"ip{f}.{side}" in facts), None)
            record = self.addresses.get(address) if address is not None else None
            found += [(way, record)] if record is not None else []
        return found

    def node(self, record: Record) -> Node:
        """The node of an endpoint."""
        if record.endpoint not in self._nodes:
            self._nodes[record.endpoint] = self.engine(self.known(record))
        return self._nodes[record.endpoint]

    def known(self, record: Record) -> Endpoints:
        """What is known there."""
        place = THIS_HOST if record.kind == HOST else IFINDEX
        return Endpoints(self.addresses, {place: replace(record, ifindex=place)})


def node_of(me: Party, parties: Iterable[Party], selections: tuple[Selection, ...]) -> Endpoints:
    """What is known on the node of an endpoint."""
    records = {}
    for number, party in enumerate(parties, 1):
        taken = (n for n, s in enumerate(selections) if s.takes(party.kind, party.labels, party.namespace))
        here = party is me and party.kind != HOST
        records[party.name] = party, Record(number, party.kind, IFINDEX if here else 0, frozenset(taken))
    addresses = {address: record for party, record in records.values() for address in party.addresses}
    place = THIS_HOST if me.kind == HOST else IFINDEX
    return Endpoints(addresses, {place: records[me.name][1]})


def interp(session: Session, chain: Chain, live: Live, stack: ExitStack) -> Engine:
    """The reference."""
    return _around(chain, lambda buckets: lambda facts: policy.decide(chain, facts, live, buckets))


def match(session: Session, chain: Chain, live: Live, stack: ExitStack) -> Engine:
    """The match IR after all passes."""
    program = session.optimised(chain)
    return _around(chain, lambda buckets: lambda facts: run_match(program, facts, live, buckets))


def plan(session: Session, chain: Chain, live: Live, stack: ExitStack) -> Engine:
    """The plan IR."""
    runner = Runner(session.plan(chain))
    return _around(chain, lambda buckets: lambda facts: runner.run(facts, live, buckets))


def native(session: Session, chain: Chain, live: Live, stack: ExitStack) -> Engine:
    """The generated code on this machine, with its own flow table."""

    def node(endpoints: Endpoints) -> Node:
        program = stack.enter_context(session.native(chain))
        program.set_live({name: (contents.v4, contents.v6) for name, contents in live.items()})
        program.know(endpoints)
        return _Native(program)

    return node


def kernel(session: Session, chain: Chain, live: Live, stack: ExitStack) -> Engine:
    """The bytecode in this kernel, with its own maps, by BPF_PROG_TEST_RUN."""
    from lockgate.runtime import bundle, testrun

    compiled = bundle.parse(session.bundle())

    def node(endpoints: Endpoints) -> Node:
        loaded = stack.enter_context(testrun.load_chain(compiled, chain.name))
        for name, contents in live.items():
            loaded.set_live(name, list(engines.prefixes(contents)))
        loaded.know(endpoints)
        return _Loaded(loaded)

    return node


def _around(chain: Chain, ask: Callable[[Buckets], Ask]) -> Engine:
    return lambda endpoints: _Interpreted(Stateful.of(chain, endpoints), ask(Buckets()))


@dataclass
class _Interpreted:
    """A node whose flows are the reference's, with some judge of facts."""

    state: Stateful
    ask: Ask

    def decide(self, frame: Frame) -> Decision:
        return self.state.decide(frame, self.ask)

    def forget(self) -> None:
        self.state.flows.clear()


@dataclass
class _Native:
    """A node whose programs run natively."""

    program: NativeChain

    def decide(self, frame: Frame) -> Decision:
        (found,) = self.program.run([frame])
        return found

    def forget(self) -> None:
        self.program.forget(("flows",))


@dataclass
class _Loaded:
    """A node whose programs run in the kernel."""

    program: LoadedChain

    def decide(self, frame: Frame) -> Decision:
        (ran,) = self.program.run([engines.given(frame)])
        assert ran is not None
        found = engines.decision_of(self.program.chain.slots, ran.slot, ran.passed)
        assert found is not None
        return found

    def forget(self) -> None:
        self.program.forget()


# Each takes a stack that closes what it opened.
ENGINES: dict[str, Callable[[Session, Chain, Live, ExitStack], Engine]] = {
    "interp": interp,
    "match": match,
    "plan": plan,
    "native": native,
    "kernel": kernel,
}
