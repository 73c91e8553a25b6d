"""Policies for labels as text, in the kernel, between pods with real sockets: who reaches whom is what the
reference says, for policies drawn at random.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lockgate import passage
from lockgate.compiler import targets
from lockgate.compiler.driver import Session
from lockgate.compiler.packet import parse
from lockgate.runtime import bundle, inventory, nftables, plan, swap
from lockgate.stdlib_bpf.decode.frame import Frame
from lockgate.stdlib_bpf.inventory import Entry, Inventory
from tests import pods
from tests.flowing import address

pytestmark = pytest.mark.kernel

POLICIES, MORE = 5, 100  # in a short run, and in a long one
LABELS = ({"app": "api"}, {"app": "db", "side": "left"}, {"app": "web", "side": "left"})
SELECTORS = ("[]", "[app=api]", "[app=db]", "[side=left]", "[lacks side]", "[app in { api, web }]")
PEERS = (*SELECTORS, "cluster", "any", "world", "not [app=db]", "{ [app=db], [app=web] }")
TIERS = ("one", "two")


def rule(draw: random.Random, side: str) -> str:
    action = draw.choice(("allow", "allow", "allow", "drop", "pass"))
    what = draw.choice(("tcp", "udp", "tcp, udp"))
    port = draw.choice(("", " to port 80", " to port 81"))
    if side == "to":
        return f"{action} {what} to {draw.choice(PEERS)}{port.replace(' to', '')}"
    return f"{action} {what} from {draw.choice(PEERS)}{port}"


def policy(draw: random.Random, number: int) -> str:
    blocks = ""
    for direction, side in (("ingress", "from"), ("egress", "to")):
        if draw.random() < 0.6:
            rules = "  ".join(rule(draw, side) for _ in range(draw.randint(1, 3)))
            blocks += f"  {direction} {{ {rules} }}\n"
    blocks = blocks or "  ingress { }\n"
    state = draw.choice(("strict", "loose"))
    head = f"tier {draw.choice(TIERS)}  order {number}  state {state}"
    return f"policy p{number} for {draw.choice(SELECTORS)} {{\n  {head}\n{blocks}}}\n"


def text(seed: int) -> str:
    draw = random.Random(seed)
    defaults = draw.choice(("", "default drop", "default allow"))
    return f"tiers one > two {defaults}\n" + "".join(policy(draw, i) for i in range(draw.randint(1, 4)))


@pytest.fixture(scope="module")
def cluster() -> Iterator[pods.Cluster]:
    with pods.cluster(3) as made:
        for pod, labels in zip(made.pods, LABELS, strict=True):
            pod.labels.clear()
            pod.labels.update(labels)
        yield made


def known(cluster: pods.Cluster) -> Inventory:
    return Inventory(
        tuple(
            Entry(
                pod.name,
                labels=dict(pod.labels),
                addresses=(address(pod.ip4), address(pod.ip6)),
                interfaces=(f"{cluster.host}/{pod.device}",),
            )
            for pod in cluster.pods
        )
    )


def opening(kind: str, source: str, destination: str, port: int) -> Frame:
    ends = (f"[{source}]", f"[{destination}]") if ":" in source else (source, destination)
    found = parse(f"{kind} {ends[0]}:40000 > {ends[1]}:{port}")
    assert isinstance(found, Frame)
    return found


SEEDS = [*range(POLICIES), *(pytest.param(n, marks=pytest.mark.exhaustive) for n in range(POLICIES, MORE))]


def at_bpf(path: Path, people: Inventory, bpffs: Path) -> Iterator[None]:
    with Session(path) as session:
        compiled = bundle.parse(session.bundle())
    swap.up(inventory.placed(plan.make(compiled), people), bpffs)
    try:
        yield
    finally:
        swap.down("p", bpffs)


def at_nftables(path: Path, people: Inventory, _: Path) -> Iterator[None]:
    with Session(path) as session:
        session._inventory = people
        targets.ALL["nftables"].check(session)
        assert session.sink.diagnostics == []
        ruleset = nftables.parse(targets.ALL["nftables"].build(session), "p.nft")
    nftables.up(ruleset, ruleset.netns)
    try:
        yield
    finally:
        nftables.down("p", ruleset.netns)


PLANES = {"bpf": contextmanager(at_bpf), "nftables": contextmanager(at_nftables)}


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("seed", SEEDS)
def test_who_reaches_whom(cluster: pods.Cluster, bpffs: Path, tmp_path: Path, seed: int, plane: str) -> None:
    path, people = tmp_path / "p.gate", known(cluster)
    path.write_text(text(seed))
    expected, got = {}, {}
    with Session(path) as session, ExitStack() as stack, PLANES[plane](path, people, bpffs):
        (chain,) = session.unit.chains
        reference = passage.interp(session, chain, {}, stack)
        for pod in cluster.pods:
            calls = [
                (kind, to, port)
                for other in cluster.pods
                if other is not pod
                for to in (other.ip4, other.ip6)
                for kind in ("tcp", "udp")
                for port in pods.PORTS
            ]
            for call, reached in zip(calls, pod.calls(calls), strict=True):
                kind, to, port = call
                run = passage.Between(people, chain.selections, reference)
                ends = run(opening(kind, pod.ip6 if ":" in to else pod.ip4, to, port))
                expected[pod.name, *call] = all(end.decision.verdict == "allow" for end in ends)
                got[pod.name, *call] = reached
    assert got == expected, path.read_text()
    assert len(got) == 48
