"""Frames as the kernel really hands them to a tc program: not all linear, the outer tag taken off, cut short.

BPF_PROG_TEST_RUN cannot make these, so they go over a veth pair. AF_PACKET with a virtio header lets the
sender say how much of a frame is linear; that takes frames of more than a page, and so an MTU of 9,000. The
program's counters must be what the reference makes of the same frames, packets and bytes, rule by rule.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from lockgate.runtime import bundle, counters, running
from lockgate.stdlib_bpf.decode.frame import Frame
from tests import engines, netns
from tests.properties.packets import TPIDS, UDP, Maker, Shape

from .actions import up

pytestmark = pytest.mark.kernel

POLICY = """
network near = {{ 10.0.0.0/8, 192.0.2.7, 2001:db8::/33, fe80::1 }}
policy gate at tc on "{target}" {{
  default pass
  ingress {{
    tagged: allow vlan {{ 1, 100 }} if ip.ttl > 0 and not ip.fragment == later
    urgent: drop if vlan.priority in {{ 5-7 }}
    asked: allow if arp.op == request
    web: drop tcp from near to port {{ 22, 80 }} flags syn, ack, psh count tcp-hits
    dns: drop udp to near port 53-65535
    one: allow sctp to port 1-65535
    echo: drop icmp type {{ 8, 2, 18 }}
    nd: drop icmp6 type {{ 135, 128, 2 }}
    rest: allow tcp to port 0-1023 count tcp-hits
    gre: drop protocol 47
  }}
}}
"""

# Reads lines `LINEAR HEX`; sends each frame with that many linear bytes, 0 for all of them.
SEND = """
import socket, struct, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
s.setsockopt(263, 15, 1)  # SOL_PACKET, PACKET_VNET_HDR
s.bind((sys.argv[1], 0))
for line in sys.stdin:
    linear, data = line.split()
    s.send(struct.pack("<BBHHHH", 0, 0, int(linear), 0, 0, 0) + bytes.fromhex(data))
"""
ONE_PAGE = 4096


@pytest.fixture
def quiet(pair: netns.Pair) -> netns.Pair:
    """A pair with jumbo frames on which the kernel says nothing of its own accord."""
    for name, device in ((pair.inner, pair.inner_if), (pair.outer, pair.outer_if)):
        netns.run(*netns.inside(name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"))
        netns.run("ip", "-n", name, "link", "set", device, "mtu", "9000")
    return pair


def judged(pair: netns.Pair, bpffs: Path, frames: Sequence[tuple[int, bytes]]) -> None:
    """Send (linear bytes, frame) pairs; the counters are the reference's for frames without their outer tag,
    which the kernel has moved to metadata when tc sees them."""
    seen = tuple(
        Frame(data[:12] + data[16:], int.from_bytes(data[14:16])) if data[12:14] in TAGS else Frame(data)
        for _, data in frames
    )
    with engines.Opened(engines.Case(POLICY.format(target=pair.target), seen)) as opened:
        data = opened.session.bundle()
        up(data, bpffs)
        expected = opened.interp().counters
        loaded = running.find(bpffs, bundle.parse(data).manifest.name)
        assert expected is not None
        assert all(packets for packets, _ in expected), f"something was never asked: {expected}"
        before = sum(c.packets for c in counters.read(loaded))
        assert before == 0, "the interface is not quiet"
        sender = netns.python(pair.outer, SEND, pair.outer_if)
        _, complaints = sender.communicate("".join(f"{n} {data.hex()}\n" for n, data in frames), timeout=60)
        assert sender.returncode == 0, complaints
        for _ in range(50):
            got = tuple((c.packets, c.bytes) for c in counters.read(loaded))
            if got == expected:
                break
            time.sleep(0.02)
        labels = [c.slot.label for c in counters.read(loaded)]
        assert dict(zip(labels, got, strict=True)) == dict(zip(labels, expected, strict=True))


TAGS = tuple(tpid.to_bytes(2) for tpid in TPIDS)


def shapes(pair: netns.Pair, seed: int) -> Maker:
    chain = engines.load(POLICY.format(target=pair.target), {}).chains[0]
    return Maker(chain, {}, random.Random(seed))


@pytest.mark.parametrize("linear", [14, 18, 40, 60])
def test_frames_that_are_not_linear(quiet: netns.Pair, bpffs: Path, linear: int) -> None:
    """Headers in fragments of the packet: pulled in, and judged like any other."""
    maker, frames = shapes(quiet, linear), []
    while len(frames) < 500:
        shape = maker.shape()
        shape.payload = shape.payload.ljust(ONE_PAGE + 100, b"\x50")
        shape.arp = shape.arp.ljust(ONE_PAGE + 100, b"\x50")
        if len(frames) % 10 == 9:
            shape.wrong_length = 1
        data = shape.frame()
        # ARP has no payload to be put elsewhere; a tag at the very end is for the kernel to throw away
        if data[12:14] not in TAGS or len(data) >= 20:
            frames.append((linear if len(data) > ONE_PAGE else 0, data))
    judged(quiet, bpffs, frames)


def test_frames_cut_short_and_tagged_ones(quiet: netns.Pair, bpffs: Path) -> None:
    """Truncation where test runs cannot go, and tags that the kernel takes into metadata."""
    maker, frames = shapes(quiet, 1), []
    while len(frames) < 2_000:
        data = maker.shape().frame()
        if len(frames) % 3 == 0:
            data = data[: maker.rng.randrange(14, len(data) + 1)]
        # The kernel itself throws away a frame that ends inside its tag or right behind it.
        if data[12:14] not in TAGS or len(data) >= 20:
            frames.append((0, data))
    judged(quiet, bpffs, frames)


def test_jumbo_frames_at_xdp(quiet: netns.Pair, bpffs: Path) -> None:
    """A device with a large MTU takes the program, and lengths are those of whole frames. The devices' own
    stack says nothing, so the counters are those of what is sent."""
    rules = "default pass  fragments first-only  all: drop udp if meta.length > 5000"
    text = f'policy gate at xdp on "{quiet.target}" {{ {rules} }}\n'
    frame = Shape(protocol=UDP, payload=bytes(8000)).frame()
    with engines.Opened(engines.Case(text, (Frame(frame),))) as opened:
        data = opened.session.bundle()
        up(data, bpffs)
        loaded = running.find(bpffs, bundle.parse(data).manifest.name)
        sender = netns.python(quiet.outer, SEND, quiet.outer_if)
        _, complaints = sender.communicate(f"0 {frame.hex()}\n" * 20, timeout=60)
        assert sender.returncode == 0, complaints
        for _ in range(50):
            found = {c.slot.label: (c.packets, c.bytes) for c in counters.read(loaded)}
            if found["all"][0] == 20:
                break
            time.sleep(0.02)
    assert found["all"] == (20, 20 * len(frame)) and found["malformed"] == (0, 0)
