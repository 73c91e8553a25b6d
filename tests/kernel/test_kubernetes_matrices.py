"""Imported network policies, compiled: who reaches whom between nine pods, by the reference, by native code
and in the kernel, is what the judge of `properties/kubernetes_objects.py` says, which is written from the
API's text alone. Every connection that there can be is asked at both of its ends."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import product

import pytest

from lockgate import engines as judges
from lockgate.compiler.diagnostics import Sink
from lockgate.compiler.driver import Session
from lockgate.compiler.importers import kubernetes
from lockgate.compiler.packet import parse
from lockgate.compiler.policy import decide
from lockgate.compiler.policy.model import Chain
from lockgate.compiler.source import Source
from lockgate.compiler.stateful import Stateful
from lockgate.passage import IFINDEX
from lockgate.runtime import bundle, testrun
from lockgate.stdlib_bpf import inventory_text
from lockgate.stdlib_bpf.decode.frame import Frame
from lockgate.stdlib_bpf.inventory import Inventory, records
from lockgate.stdlib_bpf.state.endpoints import Endpoints
from tests import engines
from tests.properties.kubernetes_objects import (
    PORTS,
    PROTOCOLS,
    WORLD,
    Connection,
    Object,
    Objects,
    allowed,
    world_objects,
)

pytestmark = pytest.mark.kernel

POLICIES, MORE = 60, 240  # policies of which matrices are made, in a short run and in a long one
WISHES = tuple(Connection(*one) for one in product(WORLD, WORLD, PROTOCOLS, PORTS) if one[0] != one[1])
POINTS = ("workload_egress", "workload_ingress")  # of who begins it, and of whom it is for
Judge = Callable[[Endpoints, Sequence[Frame]], list[bool]]


def frame_of(wish: Connection) -> Frame:
    ends = f"{wish.source.address}:40000 > {wish.target.address}:{wish.port}"
    found = parse(f"{wish.protocol.lower()} {ends}")
    assert isinstance(found, Frame)
    return replace(found, ifindex=IFINDEX)


FRAMES = [(wish, frame_of(wish)) for wish in WISHES]


def imported(objects: list[Object]) -> kubernetes.Result | None:
    """What objects become; None where they name a port of pods of which there is none."""
    sink = Sink()
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": world_objects() + objects})
    result = kubernetes.imported([Source("objects.json", text)], "default", False, sink)
    if sink.diagnostics:
        assert all("port has this name" in d.labels[0].text for d in sink.diagnostics)
        return None
    return result


def interp(session: Session, chain: Chain, stack: ExitStack) -> Judge:
    def judge(known: Endpoints, frames: Sequence[Frame]) -> list[bool]:
        run = Stateful.of(chain, known)
        return [run.decide(f, lambda facts: decide(chain, facts, {})).verdict == "allow" for f in frames]

    return judge


def native(session: Session, chain: Chain, stack: ExitStack) -> Judge:
    program = stack.enter_context(session.native(chain))

    def judge(known: Endpoints, frames: Sequence[Frame]) -> list[bool]:
        program.know(known)
        program.forget(("flows",))
        return [found.verdict == "allow" for found in program.run(frames)]

    return judge


def kernel(session: Session, chain: Chain, stack: ExitStack) -> Judge:
    loaded = stack.enter_context(testrun.load_chain(bundle.parse(session.bundle()), chain.name))

    def judge(known: Endpoints, frames: Sequence[Frame]) -> list[bool]:
        loaded.know(known)
        loaded.forget()
        slots = loaded.chain.slots
        return [
            ran is not None and slots[ran.slot].verdict == "allow"
            for ran in loaded.run([judges.given(frame) for frame in frames])
        ]

    return judge


ENGINES = {"interp": interp, "native": native, "kernel": kernel}


def matrix(judge: Judge, chain: Chain, people: Inventory) -> dict[Connection, bool]:
    """Who reaches whom: both ends allow it."""
    known = records(people, chain.selections)
    found = dict.fromkeys(WISHES, True)
    for pod in WORLD:
        record = known.addresses[4, int.from_bytes(bytes(map(int, pod.address.split("."))))]
        here = Endpoints(known.addresses, {IFINDEX: replace(record, ifindex=IFINDEX)})
        own = [
            (wish, replace(frame, point=POINTS[wish.target == pod]))
            for wish, frame in FRAMES
            if pod in (wish.source, wish.target)
        ]
        for (wish, _), allows in zip(own, judge(here, [frame for _, frame in own]), strict=True):
            found[wish] &= allows
    return found


def compare(first: int, count: int) -> None:
    """Matrices of sets of objects with so many policies together."""
    policies, seed, seen = 0, first, Counter[bool]()
    while policies < count:
        seed += 1
        objects = Objects(random.Random(seed)).some(admins=seed % 2 == 0)
        result = imported(objects)
        if result is None or result.text is None:
            continue
        policies += len(objects)
        wanted = {wish: allowed(objects, wish) for wish in WISHES}
        seen.update(wanted.values())
        people = inventory_text.read(result.inventory)
        with engines.Opened(engines.Case(result.text, ())) as opened, ExitStack() as stack:
            for name, make in ENGINES.items():
                got = matrix(make(opened.session, opened.chain, stack), opened.chain, people)
                differ = [wish for wish in WISHES if got[wish] != wanted[wish]]
                assert not differ, f"seed {seed}, {name}: {differ[:3]}\n{result.text}"
    print(policies, "policies", dict(seen))
    assert min(seen.values()) > seen.total() // 20


def test_matrices_of_policies() -> None:
    compare(0, POLICIES)


@pytest.mark.exhaustive
def test_matrices_of_more_than_two_hundred_policies() -> None:
    compare(10_000, MORE)
