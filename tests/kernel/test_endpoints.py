"""Pods as namespaces, real sockets: policies for labels judge what pods send and receive."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

from lockgate.compiler.policy.model import Chain, Selected, Traffic, Unit
from lockgate.runtime import acquaint, bundle, counters, flowlist, inventory, plan, running, swap
from lockgate.runtime.sys.netns import inside
from lockgate.stdlib_bpf.decode.frame import Frame
from lockgate.stdlib_bpf.inventory import Entry, Inventory
from lockgate.stdlib_bpf.labels import HOST, LabelTest, Selection, Selector
from lockgate.stdlib_bpf.sets import IntervalSet
from tests import engines, netns, pods
from tests.flowing import address, chain, error, packet, rule
from tests.properties.test_flows import STRICT

pytestmark = pytest.mark.kernel

API = Selection((Selector(tests=(LabelTest("app", ("api",)),)),))
DB = Selection((Selector(tests=(LabelTest("app", ("db",)),)),))
TCP, ICMP6 = Traffic(protocols=IntervalSet.of(6)), Traffic(protocols=IntervalSet.of(58))


@cache
def compiled(policy: Chain) -> bundle.Bundle:
    """A chain made by hand, as a bundle."""
    unit = Unit(policy.span.source, (policy,))
    with engines.Opened(engines.Case("", ()), unit) as opened:
        return bundle.parse(opened.session.bundle())


def known(cluster: pods.Cluster) -> Inventory:
    return Inventory(
        tuple(
            Entry(
                pod.name,
                namespace=pod.namespace,
                labels=dict(pod.labels),
                addresses=(address(pod.ip4), address(pod.ip6)),
                interfaces=(f"{cluster.host}/{pod.device}",),
            )
            for pod in cluster.pods
        )
    )


def up(policy: Chain, cluster: pods.Cluster, bpffs: Path) -> swap.Outcome:
    return swap.up(inventory.placed(plan.make(compiled(policy)), known(cluster)), bpffs)


@pytest.fixture
def three() -> Iterator[pods.Cluster]:
    with pods.cluster(3) as cluster:
        for pod, app in zip(cluster.pods, ("api", "db", "blog"), strict=True):
            pod.labels["app"] = app
        yield cluster


def db_from_api(port: int = 80, member: Selection = API) -> Chain:
    """The database takes TCP from members at a port; others take everything."""
    return chain(
        rule(
            "allow",
            direction="ingress",
            dst=Selected(1),
            src=Selected(0),
            traffic=(TCP,),
            dports=IntervalSet.of(port),
            where=STRICT,
        ),
        # Reports of multicast groups come when they like.
        rule("drop", direction="ingress", dst=Selected(1), traffic=(ICMP6,), name="reports"),
        rule("drop", direction="ingress", dst=Selected(1), name="closed"),
        default="allow",
        selections=(member, DB),
    )


def test_only_who_may(three: pods.Cluster, bpffs: Path) -> None:
    api, db, blog = three.pods
    everything = [
        (kind, to, port) for kind in ("tcp", "udp") for to in (db.ip4, db.ip6) for port in pods.PORTS
    ]
    assert all(api.calls(everything)) and all(blog.calls(everything))
    outcome = up(db_from_api(), three, bpffs)
    assert outcome.added == 6
    assert api.calls(everything) == [call[0] == "tcp" and call[2] == 80 for call in everything]
    assert not any(blog.calls(everything))
    assert db.calls([("tcp", api.ip4, 81), ("udp", blog.ip6, 80)]) == [True, True]
    swap.down(outcome.state.manifest.name, bpffs)
    assert all(blog.calls(everything))


def test_open_flows_are_judged_again(three: pods.Cluster, bpffs: Path) -> None:
    api, db, _ = three.pods
    up(db_from_api(), three, bpffs)
    assert api.ask("hold", id=1, kind="tcp", to=db.ip4, port=80, sport=0) == "ok"
    up(db_from_api(), three, bpffs)  # the same once more
    assert api.ask("say", id=1, bytes=2000) == "ok"
    up(db_from_api(port=81), three, bpffs)
    assert api.ask("say", id=1, bytes=10) == "TimeoutError"
    up(db_from_api(), three, bpffs)
    assert api.ask("hold", id=2, kind="tcp", to=db.ip6, port=80, sport=0) == "ok"


def test_labels_change_while_a_policy_runs(three: pods.Cluster, bpffs: Path) -> None:
    api, db, blog = three.pods
    name = up(db_from_api(), three, bpffs).state.manifest.name
    assert api.ask("hold", id=1, kind="tcp", to=db.ip6, port=80, sport=0) == "ok"
    assert acquaint.know(name, known(three), None, bpffs) == acquaint.Outcome(0, 0, 0)
    api.labels["app"], blog.labels["app"] = "blog", "api"
    assert acquaint.know(name, known(three), None, bpffs) == acquaint.Outcome(6, 0, 0)
    assert api.ask("say", id=1, bytes=10) == "TimeoutError"
    assert blog.reaches("tcp", db.ip4, 80) and not api.reaches("tcp", db.ip4, 80)
    there, three.pods[:] = list(three.pods), [db, blog]
    assert acquaint.know(name, known(three), None, bpffs) == acquaint.Outcome(3, 0, 2)
    assert not there[0].reaches("tcp", db.ip4, 80)  # its address is nobody's now
    three.pods[:] = there
    api.labels["app"] = "api"
    assert acquaint.know(name, known(three), None, bpffs) == acquaint.Outcome(3, 2, 0)
    assert api.reaches("tcp", db.ip4, 80)


def test_flows_are_listed(three: pods.Cluster, bpffs: Path) -> None:
    api, db, _ = three.pods
    name = up(db_from_api(), three, bpffs).state.manifest.name
    assert api.ask("hold", id=1, kind="tcp", to=db.ip4, port=80, sport=4000) == "ok"
    policy, now = running.find(bpffs, name), time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    one, other = sorted(flowlist.read(policy, now), key=lambda line: line.subject.name)
    assert (one.subject.text, one.peer.text, one.opened) == ("default/p0:4000", "default/p1:80", True)
    assert (other.subject.text, other.peer.text, other.opened) == ("default/p1:80", "default/p0:4000", False)
    assert one.state == other.state == "established"
    assert one.packets == other.packets[::-1] and one.packets[0] >= 2 and one.bytes[1] > one.bytes[0] > 100
    assert 0 <= one.silent_ns <= one.age_ns < 60e9
    assert flowlist.sweep(policy, now) == 0
    assert api.ask("hang up", id=1) == "ok"
    time.sleep(0.2)
    lines = flowlist.read(policy, time.clock_gettime_ns(time.CLOCK_MONOTONIC))
    assert {line.state for line in lines} == {"closed"}
    assert flowlist.sweep(policy, now + 130 * 10**9) == 2


def test_nothing_that_is_allowed_is_lost_when_policies_change(three: pods.Cluster, bpffs: Path) -> None:
    """Datagrams, of which nobody sends one again, over flows that both the old and the new policy allow."""
    api, db, blog = three.pods
    name = up(db_from_api(), three, bpffs).state.manifest.name
    for i in range(10):
        begun = {"id": i, "kind": "udp", "to": (api.ip4, api.ip6)[i % 2], "port": 80, "sport": 0}
        assert "ok" in (
            blog.ask("hold", **begun) for _ in range(3)
        )  # neighbours may take a while to be found
    said: list[str] = []
    over = threading.Event()

    def talk() -> None:
        while not over.is_set():
            said.extend(blog.ask("say", id=i, bytes=100) for i in range(10))

    talking = threading.Thread(target=talk)
    talking.start()
    try:
        for i in range(4):
            up(db_from_api(port=80 + i % 2), three, bpffs)
            db.labels["side"] = f"turn{i}"
            acquaint.know(name, known(three), None, bpffs)
    finally:
        over.set()
        talking.join()
    assert len(said) > 100
    assert set(said) == {"ok"}


def segment(cluster: pods.Cluster, sender: pods.Pod, frames: Sequence[Frame]) -> None:
    """Send frames out of a pod's interface as they are, but for the MAC addresses."""
    macs = [
        netns.run("ip", "-n", space, "-br", "link", "show", "dev", device).stdout.split()[2]
        for space, device in ((cluster.host, sender.device), (sender.space, "eth0"))
    ]
    head = b"".join(bytes.fromhex(mac.replace(":", "")) for mac in macs)
    with inside(sender.space), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("eth0", 0))
        for frame in frames:
            raw.send(head + frame.data[12:])


def deciders(name: str, bpffs: Path) -> dict[str, int]:
    """How many packets each of those who decide had."""
    policy = running.find(bpffs, name)
    found: dict[str, int] = {}
    for count in counters.read(policy):
        found[count.slot.label] = found.get(count.slot.label, 0) + count.packets
    return found


def test_forged_packets(three: pods.Cluster, bpffs: Path) -> None:
    api, db, blog = three.pods
    name = up(db_from_api(), three, bpffs).state.manifest.name
    assert api.ask("hold", id=1, kind="tcp", to=db.ip4, port=80, sport=4000) == "ok"
    time.sleep(0.1)
    before = deciders(name, bpffs)
    answer = packet("tcp", db.ip4, 80, api.ip4, 4000, "ack")
    unknown = packet("tcp", db.ip4, 80, api.ip4, 4001, "ack")
    # Out of nowhere: each passes the sender, who may send anything, and is dropped at the database.
    nowhere = [
        packet("tcp", api.ip4, 4001, db.ip4, 80, flags) for flags in ("syn,ack", "rst", "ack", "fin,ack")
    ]
    segment(three, api, [*nowhere, error(api.ip4, db.ip4, unknown)])
    # In another's name: dropped where they are sent.
    spoofed = [packet("tcp", api.ip4, 4000, db.ip4, 80, "rst"), error(api.ip4, db.ip4, answer)]
    segment(three, blog, spoofed)
    # Of a known flow, but impossible.
    segment(three, api, [packet("tcp", api.ip4, 4000, db.ip4, 80, "syn,fin")])
    after = {label: count - before[label] for label, count in deciders(name, bpffs).items()}
    assert after["foreign source"] == 2
    assert after["invalid state"] == 1
    assert after["closed"] == 5
    assert api.ask("say", id=1, bytes=1000) == "ok"
    # What the far end of a known flow may say follows it.
    before = deciders(name, bpffs)
    segment(three, api, [error(api.ip4, db.ip4, answer)])
    after = {label: count - before[label] for label, count in deciders(name, bpffs).items()}
    assert after["known flow"] == 2  # where it is sent and where it is received


def with_port(frame: Frame, sport: int) -> Frame:
    """Another source port; the checksum is wrong then, so that nobody answers."""
    at = 34 if frame.data[12:14] == b"\x08\x00" else 54
    return Frame(frame.data[:at] + sport.to_bytes(2) + frame.data[at + 2 :])


def test_a_flood_pushes_out_no_established_flow(three: pods.Cluster, bpffs: Path) -> None:
    api, db, _ = three.pods
    name = up(db_from_api(), three, bpffs).state.manifest.name
    for i in range(20):
        assert api.ask("hold", id=i, kind="tcp", to=db.ip4, port=80, sport=4000 + i) == "ok"
    one, other = (packet("tcp", *ends, 80, "syn") for ends in ((api.ip4, 1, db.ip4), (api.ip6, 1, db.ip6)))
    segment(three, api, [with_port(frame, port) for port in range(10_000, 60_000) for frame in (one, other)])
    lines = flowlist.read(running.find(bpffs, name), time.clock_gettime_ns(time.CLOCK_MONOTONIC))
    kept = [line for line in lines if line.state == "established" and 4000 <= line.subject.port < 4020]
    assert len(kept) == 20
    assert sum(line.state in ("opening", "answered") for line in lines) > 20_000
    assert all(api.ask("say", id=i, bytes=10) == "ok" for i in range(20))


def test_a_host_judges_what_is_its_own(three: pods.Cluster, bpffs: Path) -> None:
    """The third pod is the world behind the host's uplink; it and a pod call the host and each other."""
    api, _, world = three.pods
    takes = Selection((Selector(HOST),))
    policy = chain(
        rule(
            "allow",
            direction="ingress",
            dst=Selected(0),
            traffic=(TCP,),
            dports=IntervalSet.of(80),
            where=STRICT,
        ),
        rule("drop", direction="ingress", dst=Selected(0), name="closed"),
        rule("drop", direction="ingress", dst=Selected(1), name="pods closed"),
        default="allow",
        selections=(takes, API),
    )
    four = [f"10.77.{i}.1" for i in range(3)]
    six = [f"fd77:{i}::1" for i in range(3)]
    uplink = (f"{three.host}/{world.device}",)
    own = Entry("here", HOST, addresses=tuple(map(address, four + six)), interfaces=uplink)
    inside_ = known(pods.Cluster(three.host, three.pods[:2]))
    everyone = Inventory((*inside_.entries, own))
    agent = pods.Pod("host", three.host, three.host, "", four[0], six[0])
    agent.agent = netns.python(three.host, pods.AGENT, "[80, 81]")
    try:
        assert agent.agent.stdout is not None and agent.agent.stdout.readline() == "ready\n"
        outcome = swap.up(inventory.placed(plan.make(compiled(policy)), everyone), bpffs)
        assert outcome.added == 10  # four at each pod's interface, two at the uplink
        for caller, to in ((world, (four[2], six[2])), (api, (four[0], six[0]))):
            asked = [(kind, one, port) for kind in ("tcp", "udp") for one in to for port in pods.PORTS]
            assert caller.calls(asked) == [kind == "tcp" and port == 80 for kind, _, port in asked]
        for to in (api.ip4, api.ip6):
            assert not world.reaches("tcp", to, 80)  # forwarded, and the pod is closed
            assert agent.reaches("tcp", to, 80) and agent.reaches("udp", to, 81)  # its own host may
        assert agent.reaches("tcp", world.ip4, 80) and agent.reaches("udp", world.ip6, 81)
        assert api.reaches("tcp", world.ip4, 80)
    finally:
        agent.agent.kill()
        agent.agent.communicate()
