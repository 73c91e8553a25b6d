"""Who reaches whom: policies at random between pods, real sockets, and an evaluator that shares nothing with
the compiler."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lockgate.runtime import bundle, inventory, plan, swap
from tests import engines, pods

from .test_endpoints import known

pytestmark = pytest.mark.kernel

APPS = ("api", "db", "blog")
PROTOCOLS = ("tcp", "udp")


@dataclass(frozen=True)
class Said:
    """One rule: what pods of `app` may receive from, or send to, pods of `peer` (None: anybody)."""

    peer: str | None
    protocol: str
    port: int | None


@dataclass(frozen=True)
class Policy:
    """Of the pods of one app, or of all; None for a direction it does not speak of."""

    app: str | None
    ingress: tuple[Said, ...] | None
    egress: tuple[Said, ...] | None

    def text(self, name: str) -> str:
        """As people write it."""
        out = [f"policy {name} for [{f'app={self.app}' if self.app else ''}] {{"]
        for way, word, rules in (("ingress", "from", self.ingress), ("egress", "to", self.egress)):
            if rules is None:
                continue
            out.append(f"  {way} {{")
            for rule in rules:
                peer = f"{word} [app={rule.peer}]" if rule.peer else ""
                port = f" port {rule.port}" if rule.port is not None else ""
                if way == "ingress":
                    out.append(f"    allow {rule.protocol} {peer}{' to' + port if port else ''}")
                else:
                    out.append(f"    allow {rule.protocol} {peer or ('to' if port else '')}{port}")
            out.append("  }")
        return "\n".join([*out, "}"])


def drawn(draw: random.Random) -> list[Policy]:
    """A few policies."""

    def rules() -> tuple[Said, ...] | None:
        if draw.random() < 0.4:
            return None
        return tuple(
            Said(draw.choice((*APPS, None)), draw.choice(PROTOCOLS), draw.choice((80, 81, None)))
            for _ in range(draw.randrange(1, 4))
        )

    found = [Policy(draw.choice((*APPS, None)), rules(), rules()) for _ in range(draw.randrange(1, 5))]
    return [one for one in found if one.ingress is not None or one.egress is not None]


def may(policies: list[Policy], src: str, dst: str, protocol: str, port: int) -> bool:
    """Whether a call is answered: both ends must allow its first packet, and whom nobody speaks of may."""
    for app, peer, way in ((src, dst, "egress"), (dst, src, "ingress")):
        speaking = [
            rules for one in policies if one.app in (app, None) and (rules := getattr(one, way)) is not None
        ]
        if speaking and not any(
            rule.peer in (peer, None) and rule.protocol == protocol and rule.port in (port, None)
            for rules in speaking
            for rule in rules
        ):
            return False
    return True


def bundled(text: str) -> bundle.Bundle:
    with engines.Opened(engines.Case(text, ())) as opened:
        return bundle.parse(opened.session.bundle())


@pytest.fixture
def three() -> Iterator[pods.Cluster]:
    with pods.cluster(3) as cluster:
        for pod, app in zip(cluster.pods, APPS, strict=True):
            pod.labels["app"] = app
        yield cluster


@pytest.mark.parametrize("seeds", [range(6), pytest.param(range(6, 100), marks=pytest.mark.exhaustive)])
def test_reachability(seeds: range, three: pods.Cluster, bpffs: Path) -> None:
    answers = {True: 0, False: 0}
    for seed in seeds:
        policies = drawn(random.Random(f"reachability {seed}"))
        if not policies:
            continue
        text = "\n".join(one.text(f"p{i}") for i, one in enumerate(policies))
        swap.up(inventory.placed(plan.make(bundled(text)), known(three)), bpffs)
        for pod in three.pods:
            calls = [
                (other, protocol, port)
                for other in three.pods
                if other is not pod
                for protocol in PROTOCOLS
                for port in pods.PORTS
            ]
            addresses = [(p, o.ip4 if seed % 2 else o.ip6, port) for o, p, port in calls]
            got = pod.calls(addresses)
            wanted = [may(policies, pod.labels["app"], o.labels["app"], p, port) for o, p, port in calls]
            assert got == wanted, f"seed {seed}, from {pod.labels['app']}: {addresses}\n{text}"
            for one in got:
                answers[one] += 1
    assert min(answers.values()) > 20
