"""`forward fast`: packets of known flows get past the host's stack, and nothing else is different."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import scapy.all as scapy

from lockgate.compiler.driver import Options, Session
from lockgate.runtime import acquaint, bundle, counters, flowlist, inventory, netlink, plan, running, swap
from lockgate.runtime.sys.netns import inside
from lockgate.stdlib_bpf import inventory_text
from lockgate.stdlib_bpf.inventory import Inventory
from tests import netns, pods

pytestmark = pytest.mark.kernel

POLICY = """\
policy db for [app=db] {
  default drop
  ingress {
    allow tcp from [app=api] to port 80
    allow udp from [app=api] to port 80
    allow icmp, icmp6
  }
  egress { allow }
}
policy api for [app=api] {
  default drop
  egress { allow }
  ingress { allow icmp, icmp6  allow udp from world to port 80 }
}
"""
FAST = "forwarded fast"
ETH_P_ALL = 3


@pytest.fixture
def three() -> Iterator[pods.Cluster]:
    """The third pod is the world behind the host's uplink."""
    with pods.cluster(3) as cluster:
        for pod, app in zip(cluster.pods, ("api", "db", "world"), strict=True):
            pod.labels["app"] = app
        yield cluster


def up(three: pods.Cluster, bpffs: Path, folder: Path, mode: str, name: str = "pods") -> str:
    """Load the policy with a line `forward`."""
    path = folder / f"{name}.gate"
    path.write_text(f"forward {mode}\n{POLICY}")
    with Session(path, Options()) as session:
        session.prepare()
        session.analyse()
        built = bundle.parse(session.bundle())
    return swap.up(inventory.placed(plan.make(built), known(three)), bpffs).state.manifest.name


def known(three: pods.Cluster) -> Inventory:
    """Two pods, and this host with its uplink."""
    said = three.inventory()
    world = said["endpoints"].pop()
    own = [f"{net}{i}{last}" for i in range(3) for net, last in (("10.77.", ".1"), ("fd77:", "::1"))]
    said["endpoints"].append(
        {"name": "here", "kind": "host", "addresses": own, "interfaces": [world["interface"]]}
    )
    return inventory_text.read(json.dumps(said))


def decided(name: str, bpffs: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for count in counters.read(running.find(bpffs, name)):
        found[count.slot.label] = found.get(count.slot.label, 0) + count.packets
    return found


def forwarded(three: pods.Cluster) -> int:
    """How many packets the host's stack has forwarded, of both families."""
    text = netns.run(*netns.inside(three.host, "cat", "/proc/net/snmp", "/proc/net/snmp6")).stdout
    heads, values = (line.split() for line in text.splitlines() if line.startswith("Ip: "))
    six = next(line.split()[1] for line in text.splitlines() if line.startswith("Ip6OutForwDatagrams"))
    return int(values[heads.index("ForwDatagrams")]) + int(six)


def hold(caller: pods.Pod, number: int, kind: str, to: str, sport: int = 0) -> None:
    """Begin to talk, until both ends have confirmed the flow."""
    held = {"id": number, "kind": kind, "to": to, "port": 80, "sport": sport}
    assert "ok" in (caller.ask("hold", **held) for _ in range(3))  # neighbours may take a while to be found
    for _ in range(2):
        assert caller.ask("say", id=number, bytes=100) == "ok"


def passage(
    sender: pods.Pod, receiver: pods.Pod, marker: bytes, frame: bytes
) -> tuple[list[bytes], list[bytes]]:
    """Send a frame; frames with its mark that come in at the receiver and, as answers or errors, at the
    sender, in a tenth of a second."""
    with ExitStack() as opened:
        taps = []
        for pod in (receiver, sender):
            with inside(pod.space):
                taps.append(opened.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)))
                taps[-1].bind(("eth0", ETH_P_ALL))
        taps[1].send(frame)
        time.sleep(0.1)
        arrived, back = (list(_incoming(tap, marker)) for tap in taps)
    return arrived, back


def _incoming(tap: socket.socket, marker: bytes) -> Iterator[bytes]:
    with suppress(BlockingIOError):
        while True:
            data, where = tap.recvfrom(65535, socket.MSG_DONTWAIT)
            if marker in data and where[2] != socket.PACKET_OUTGOING:
                yield data


def errors_in(frames: list[bytes], family: int) -> list[tuple[int, int]]:
    """Type and code of the ICMP messages among frames."""
    at, proto, head = (23, 1, 34) if family == 4 else (20, 58, 54)
    return [(frame[head], frame[head + 1]) for frame in frames if frame[at] == proto]


def mac(space: str, device: str) -> str:
    return netns.run("ip", "-n", space, "-br", "link", "show", "dev", device).stdout.split()[2]


def datagram(sender: pods.Pod, to: str, sport: int, payload: bytes, **more: Any) -> bytes:
    """A frame of the flow as the pod would send it. `more`: of the network header."""
    ether = scapy.Ether(src=mac(sender.space, "eth0"), dst=mac(sender.host, sender.device))
    network = scapy.IPv6(src=sender.ip6, dst=to) if ":" in to else scapy.IP(src=sender.ip4, dst=to, id=77)
    for name, value in more.items():
        setattr(network, {"ttl": "hlim"}.get(name, name) if ":" in to else name, value)
    return bytes(ether / network / scapy.UDP(sport=sport, dport=80) / payload)


def forget(host: str, device: str) -> None:
    netns.run("ip", "-n", host, "neigh", "flush", "dev", device)


@dataclass(frozen=True)
class Case:
    """`more`: of the network header; `fast`: whether it gets past the stack; `before`, `after`: done to
    (host, device of the receiver)."""

    size: int = 100
    more: dict[str, Any] = field(default_factory=dict)
    fast: bool = True
    before: Callable[[str, str], object] = lambda *_: None
    after: Callable[[str, str], object] = lambda *_: None


def ip(*words: str) -> Callable[[str, str], object]:
    return lambda host, device: netns.run("ip", "-n", host, "link", "set", device, *words)


CASES = {
    "plain": Case(),
    "two hops left": Case(more={"ttl": 2}),
    "the last hop": Case(more={"ttl": 1}, fast=False),
    "full": Case(size=1400),
    "too large": Case(size=1400, fast=False, before=ip("mtu", "1300"), after=ip("mtu", "1500")),
    "neighbour not known": Case(fast=False, before=forget),
}
FOUR_ONLY = {
    "with options": Case(more={"options": [scapy.IPOption(b"\x01\x01\x01\x00")]}, fast=False),
    "not to be cut": Case(
        size=1400, more={"flags": "DF"}, fast=False, before=ip("mtu", "1300"), after=ip("mtu", "1500")
    ),
}


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("target", ["pod", "uplink"])
def test_nothing_else_is_different(
    family: int, target: str, three: pods.Cluster, bpffs: Path, tmp_path: Path
) -> None:
    """Each packet arrives as it does through the stack, byte by byte, or the same error comes back."""
    api = three.pods[0]
    other = three.pods[1 if target == "pod" else 2]
    to = other.ip4 if family == 4 else other.ip6
    cases = CASES | (FOUR_ONLY if family == 4 else {})
    outcomes: dict[str, dict[str, tuple[object, ...]]] = {"stack": {}, "fast": {}}
    for number, mode in enumerate(outcomes):
        name = up(three, bpffs, tmp_path, mode)
        hold(api, number, "udp", to, sport=4000)
        for title, case in cases.items():
            case.before(three.host, other.device)
            marker = f"lg {title} {family}.".encode()
            frame = datagram(api, to, 4000, marker.ljust(case.size, b"."), **case.more)
            before = decided(name, bpffs).get(FAST, 0)
            arrived, back = passage(api, other, marker, frame)
            went = decided(name, bpffs).get(FAST, 0) - before
            case.after(three.host, other.device)
            errors = errors_in(back, family)
            outcomes[mode][title] = (arrived, errors, len(back))
            if mode == "fast":  # what is answered comes back fast
                assert went == case.fast + len(back) - len(errors), title
        api.ask("hang up", id=number)
    assert outcomes["fast"] == outcomes["stack"]
    assert outcomes["stack"]["plain"][0]


@pytest.mark.parametrize("pairs", [True, False])
def test_known_flows_do_not_go_through_the_stack(
    pairs: bool, three: pods.Cluster, bpffs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pairs`: whether packets are put into a namespace, or go out of the interface and are judged there."""
    if not pairs:
        monkeypatch.setattr(netlink, "PAIRS", ())
    api, db, world = three.pods
    name = up(three, bpffs, tmp_path, "fast")
    ends = [
        (api, db.ip4),
        (api, db.ip6),
        (api, world.ip4),
        (api, world.ip6),
        (world, api.ip4),
        (world, api.ip6),
    ]
    for number, (caller, to) in enumerate(ends):
        hold(caller, number, "udp" if caller is world else ("tcp", "udp")[number % 2], to)
    time.sleep(0.2)  # the last acknowledgements
    stack, before = forwarded(three), decided(name, bpffs)
    for number, (caller, _) in enumerate(ends):
        for _ in range(5):
            assert caller.ask("say", id=number, bytes=1000) == "ok"
    after = decided(name, bpffs)
    assert forwarded(three) == stack
    assert after[FAST] - before[FAST] >= 2 * 5 * len(ends)
    assert (after["known flow"] == before["known flow"]) == pairs


def test_flows_that_go_fast_are_judged_again(three: pods.Cluster, bpffs: Path, tmp_path: Path) -> None:
    api, db, _ = three.pods
    name = up(three, bpffs, tmp_path, "fast")
    hold(api, 1, "tcp", db.ip4)
    hold(api, 2, "udp", db.ip6)
    api.labels["app"] = "blog"
    acquaint.know(name, known(three), None, bpffs)
    assert [api.ask("say", id=number, bytes=10) for number in (1, 2)] == ["TimeoutError"] * 2


def test_connections_end(three: pods.Cluster, bpffs: Path, tmp_path: Path) -> None:
    """What closes a connection goes the same way, and is seen by both ends' flows."""
    api, db, _ = three.pods
    name = up(three, bpffs, tmp_path, "fast")
    hold(api, 1, "tcp", db.ip4, sport=4000)
    assert api.ask("hang up", id=1) == "ok"
    time.sleep(0.2)
    lines = flowlist.read(running.find(bpffs, name), time.clock_gettime_ns(time.CLOCK_MONOTONIC))
    assert [line.state for line in lines if 4000 in (line.subject.port, line.peer.port)] == ["closed"] * 2
    hold(api, 2, "tcp", db.ip4, sport=4000)  # the same ports once more


def test_addresses_that_the_stack_translates(three: pods.Cluster, bpffs: Path, tmp_path: Path) -> None:
    """Flows that the host translates go through it, in either direction."""
    api, db, world = three.pods
    nat = """table ip lg {
      chain out {
        type nat hook postrouting priority 100
        oifname "pod2" masquerade
      }
      chain in {
        type nat hook prerouting priority -100
        ip daddr 10.77.2.1 udp dport 8000 dnat to 10.77.0.2:80
        ip daddr 10.77.99.1 udp dport 80 dnat to 10.77.1.2
      }
    }"""
    netns.run(*netns.inside(three.host, "nft", nat))
    name = up(three, bpffs, tmp_path, "fast")
    hold(api, 1, "udp", world.ip4)
    hold(api, 2, "udp", "10.77.99.1")
    begun = {"kind": "udp", "to": "10.77.2.1", "port": 8000, "sport": 0}
    assert "ok" in (world.ask("hold", id=3, **begun) for _ in range(3))
    before = decided(name, bpffs)[FAST]
    for caller, number in ((api, 1), (api, 2), (world, 3)):
        for _ in range(4):
            assert caller.ask("say", id=number, bytes=100) == "ok"
    assert decided(name, bpffs)[FAST] == before
    assert db.reaches("tcp", world.ip6, 80)
