"""A veth pair under a flood that one system call makes.

XDP's test run with live frames runs a program that sends each frame into the near end. The far end, in the
same namespace, receives it on the same CPU before the call returns, by an XDP program or, without one, by the
stack: so the time of the call is that of packets from sending to dropping.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ctypes import addressof, create_string_buffer
from dataclasses import dataclass
from pathlib import Path

from lockgate.cost import peers
from lockgate.runtime.sys import netns
from lockgate.runtime.sys.fd import Fd
from lockgate.runtime.sys.link import loopback_up

from . import handwritten, harness, idle, stack
from .harness import Run, Stamp

NEAR, FAR = "near", "far"
SIOCETHTOOL, ETHTOOL_SGRO = 0x8946, 0x2C  # include/uapi/linux/sockios.h, ethtool.h


@dataclass(frozen=True)
class Wire:
    """`run` sends packets."""

    place: netns.Nameless
    run: Run

    def verify(self, name: str, packets: int) -> None:
        """Send so many packets, which warms whatever there is, and then a few: ValueError unless all of those
        arrive and none gets past what stands there."""
        self.run(packets)
        with self.place.inside():
            before = _arrived(), stack.past(4)
            self.run(stack.CHECKED)
            arrived, past = _arrived() - before[0], stack.past(4) - before[1]
        if (arrived, past) != (stack.CHECKED, 0):
            raise ValueError(f"{name}: of {stack.CHECKED} packets {arrived} arrived, {past} got past it")


@contextmanager
def flooded(
    frame: bytes, stamp: Stamp, stamps: Sequence[bytes], program: Fd | None, scripts: stack.Scripts
) -> Iterator[Wire]:
    """A wire at whose far end a program stands, or in whose stack a filter does what scripts say.
    `stack.Refused` for those."""
    with ExitStack() as opened:
        place = opened.enter_context(netns.Nameless())
        with place.inside():
            loopback_up()
            address = _pair()
            if program is not None:
                opened.enter_context(idle.link(program, FAR))
            stack.load(scripts)
            sender = opened.enter_context(handwritten.redirect(socket.if_nametoindex(NEAR)))
        front = opened.enter_context(harness.stamping(sender, stamps, stamp))
        run = harness.timed(front, address + frame[len(address) :], live=True)
        yield Wire(place, peers.within(place, run))


def _pair() -> bytes:
    """Make the pair, both ends up and quiet; the far end's address."""
    ip = ["ip", "link"]
    subprocess.run([*ip, "add", NEAR, "type", "veth", "peer", "name", FAR], check=True)
    for device in (NEAR, FAR):
        Path(f"/proc/sys/net/ipv6/conf/{device}/disable_ipv6").write_text("1")
        subprocess.run([*ip, "set", device, "up"], check=True)
    _napi(FAR)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind((FAR, 0))
        address: bytes = s.getsockname()[4]
        return address


def _napi(device: str) -> None:
    """Let a veth device receive by NAPI also without a program, which it does when it merges packets (GRO):
    else it takes no frames of XDP."""
    value = create_string_buffer(struct.pack("II", ETHTOOL_SGRO, 1))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, SIOCETHTOOL, struct.pack("16sQ16x", device.encode(), addressof(value)))


def _arrived() -> int:
    """Packets that the far end has received."""
    lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    return next(int(line.split()[2]) for line in lines if line.split()[0] == f"{FAR}:")
