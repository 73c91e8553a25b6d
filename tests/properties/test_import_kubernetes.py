"""Imported network policies let exactly those connections be that the API's text allows: matrices over nine
pods, against a judge that is written from that text alone.
"""

from __future__ import annotations

import json
import random
from itertools import product

import pytest

from lockgate.compiler.diagnostics import Severity, Sink
from lockgate.compiler.importers import kubernetes
from lockgate.compiler.policy import decide
from lockgate.compiler.policy.model import Chain
from lockgate.compiler.source import Source
from lockgate.compiler.syntax import format_source
from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.labels import NAME, WORKLOAD
from tests import engines

from .kubernetes_objects import (
    PORTS,
    PROTOCOLS,
    WORLD,
    Connection,
    Object,
    Objects,
    Pod,
    allowed,
    world_objects,
)

NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132}
DIRECTIONS = ("ingress", "egress")
SETS = 40


def imported(objects: list[Object]) -> str | None:
    """The policy that objects become; None where they name a port of pods of which there is none."""
    sink = Sink()
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": world_objects() + objects})
    result = kubernetes.imported([Source("objects.json", text)], "default", False, sink)
    if sink.diagnostics and all("port has this name" in d.labels[0].text for d in sink.diagnostics):
        return None
    assert not sink.diagnostics, [d.message for d in sink.diagnostics]
    assert result.text is not None
    assert format_source(Source("p", result.text), Sink()) == result.text
    return result.text


def compiled(text: str) -> Chain:
    """The rule list of all policies."""
    sink = Sink()
    (chain,) = engines.load(text, {}, sink).chains
    assert not [d for d in sink.diagnostics if d.severity is Severity.ERROR]
    return chain


class Judge:
    """The reference, asked at both ends of a connection."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.taken = {
            pod: [s.takes(WORKLOAD, pod.labels, {**pod.space, NAME: pod.namespace}) for s in chain.selections]
            for pod in WORLD
        }

    def allows(self, wish: Connection) -> bool:
        """Whether both ends do."""
        if wish.source == wish.target:
            return True  # not judged
        ends = ((wish.source, wish.target, "egress"), (wish.target, wish.source, "ingress"))
        return all(self._at(wish, me, other, direction) == "allow" for me, other, direction in ends)

    def _at(self, wish: Connection, me: Pod, other: Pod, direction: str) -> str:
        packet = {
            "eth.type": fields.ETH_P_IP,
            "ip.proto": NUMBERS[wish.protocol],
            "ip4.src": _number(wish.source),
            "ip4.dst": _number(wish.target),
            "th.sport": 40000,
            "th.dport": wish.port,
            "flow.direction": DIRECTIONS.index(direction),
            "flow.opens": 1,
        }
        packet |= {"tcp.flags": 2} if wish.protocol == "TCP" else {}
        for number, (mine, theirs) in enumerate(zip(self.taken[me], self.taken[other], strict=True)):
            packet[fields.selected_field(fields.SUBJECT, number)] = int(mine)
            packet[fields.selected_field(fields.PEER, number)] = int(theirs)
        return decide(self.chain, packet, {}).verdict


def _number(pod: Pod) -> int:
    a, b, c, d = map(int, pod.address.split("."))
    return a << 24 | b << 16 | c << 8 | d


def wishes(rng: random.Random, share: float) -> list[Connection]:
    """Some of the connections that there can be."""
    every = product(WORLD, WORLD, PROTOCOLS, PORTS)
    return [Connection(*one) for one in every if rng.random() < share]


def matrices(seeds: range, share: float, admins: bool) -> None:
    seen = {True: 0, False: 0}
    policies = 0
    for seed in seeds:
        rng = random.Random(seed)
        objects = Objects(rng).some(admins)
        text = imported(objects)
        if text is None:
            continue
        policies += len(objects)
        judge = Judge(compiled(text))
        for wish in wishes(rng, share):
            expected = allowed(objects, wish)
            seen[expected] += 1
            if judge.allows(wish) != expected:
                raise AssertionError(
                    f"seed {seed}: {wish} should be {expected}\n{json.dumps(objects, indent=1)}\n{text}"
                )
    assert policies >= len(seeds) * 2
    assert min(seen.values()) > sum(seen.values()) // 20, seen


@pytest.mark.parametrize("admins", [False, True])
def test_reachability_is_that_of_the_api(admins: bool) -> None:
    matrices(range(SETS), 0.15, admins)


@pytest.mark.exhaustive
@pytest.mark.parametrize("admins", [False, True])
def test_reachability_is_that_of_the_api_everywhere(admins: bool) -> None:
    matrices(range(1000, 1120), 1.0, admins)
