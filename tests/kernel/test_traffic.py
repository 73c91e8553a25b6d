"""Real packets over a veth pair, and real socket calls: what a policy says is what happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.runtime import swap

from .. import netns
from . import policies
from .actions import counts, tcp_answer, udp_arrivals, up
from .policies import ICMP, ICMPV6, TCP, UDP, bundle, chain, nets, rule

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("mode", ["native", "generic"])
@pytest.mark.parametrize("family", [4, 6])
def test_xdp_drops_and_passes(bpffs: Path, pair: netns.Pair, mode: str, family: int) -> None:
    to = pair.inner4 if family == 4 else pair.inner6
    data = bundle(
        "edge",
        chain(
            "edge", "xdp", pair.target, "pass",
            rule("drop", "no-web", proto=TCP, dport=80), rule("drop", "no-syslog", proto=UDP, dport=514),
        ),
    )  # fmt: skip
    outcome = up(data, bpffs, xdp_mode=mode)
    assert [a.mode for a in outcome.state.attachments] == [mode]
    assert tcp_answer(pair.inner, pair.outer, to, 8080) == "hello"
    assert tcp_answer(pair.inner, pair.outer, to, 80) == "TimeoutError"
    assert udp_arrivals(pair.inner, pair.outer, to, 53) == 3
    assert udp_arrivals(pair.inner, pair.outer, to, 514) == 0
    counted = counts(bpffs, "edge")
    assert counted["no-web"] >= 1
    assert counted["no-syslog"] == 3
    swap.down("edge", bpffs)
    assert tcp_answer(pair.inner, pair.outer, to, 80) == "hello"


@pytest.mark.parametrize("family", [4, 6])
def test_tc_judges_both_directions(bpffs: Path, pair: netns.Pair, family: int) -> None:
    inner, outer = (pair.inner4, pair.outer4) if family == 4 else (pair.inner6, pair.outer6)
    data = bundle(
        "lan",
        chain(
            "lan", "tc", pair.target, "allow", rule("drop", "in", proto=UDP, dport=1000), direction="ingress"
        ),
        chain(
            "lan", "tc", pair.target, "allow", rule("drop", "out", proto=UDP, dport=2000), direction="egress"
        ),
    )
    up(data, bpffs)
    assert udp_arrivals(pair.inner, pair.outer, inner, 1000) == 0
    assert udp_arrivals(pair.inner, pair.outer, inner, 2000) == 3
    assert udp_arrivals(pair.outer, pair.inner, outer, 1000) == 3
    assert udp_arrivals(pair.outer, pair.inner, outer, 2000) == 0
    counted = counts(bpffs, "lan")
    assert (counted["in"], counted["out"]) == (3, 3)


def test_a_default_deny_keeps_only_what_is_named(bpffs: Path, pair: netns.Pair) -> None:
    arp_and_ping = (rule("allow", "ping4", proto=ICMP), rule("allow", "ping6", proto=ICMPV6))
    data = bundle("deny", chain("deny", "tc", pair.target, "drop", *arp_and_ping, direction="ingress"))
    up(data, bpffs)
    for address in (pair.inner4, pair.inner6):
        pinged = netns.python(pair.outer, PING, address)
        out, _ = pinged.communicate(timeout=20)
        assert out.strip() == "answered", address
        assert tcp_answer(pair.inner, pair.outer, address, 80) == "TimeoutError"
    assert counts(bpffs, "deny")["ping4"] >= 1


PING = """
import socket, sys
six = ":" in sys.argv[1]
s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW, 58 if six else 1)
s.settimeout(2)
body = bytes((128 if six else 8, 0)) + bytes(2) + b"\\0\\1\\0\\1lockgate"
if not six:
    total = sum(int.from_bytes(body[i:i + 2]) for i in range(0, len(body), 2))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    body = body[:2] + (0xFFFF - total).to_bytes(2) + body[4:]
s.sendto(body, (sys.argv[1], 0))
try:
    while True:
        answer = s.recv(2000)
        if (answer[0] == 129) if six else (answer[20] == 0):
            print("answered")
            break
except TimeoutError:
    print("silence")
"""


SOCKETS = """
import errno, os, socket, sys
open(sys.argv[1] + "/cgroup.procs", "w").write("0")
def call(family, kind, operation, address, port):
    with socket.socket(family, kind) as s:
        s.settimeout(1)
        try:
            s.sendto(b"x", (address, port)) if operation == "send" else s.connect((address, port))
            return "ok"
        except OSError as error:
            return errno.errorcode.get(error.errno, "timeout")
four, six, tcp, udp = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM
for family, kind, operation, address, port in (
    (four, tcp, "connect", "192.0.2.2", 80),
    (four, tcp, "connect", "192.0.2.2", 81),
    (six, tcp, "connect", "2001:db8::2", 80),
    (six, tcp, "connect", "2001:db8::2", 81),
    (six, tcp, "connect", "::ffff:192.0.2.2", 80),
    (six, tcp, "connect", "::ffff:192.0.2.2", 81),
    (four, udp, "send", "192.0.2.2", 53),
    (four, udp, "send", "192.0.2.2", 54),
    (six, udp, "send", "2001:db8::2", 53),
    (six, udp, "send", "2001:db8::2", 54),
    (six, udp, "send", "::ffff:192.0.2.2", 54),
    (four, udp, "connect", "192.0.2.2", 53),
    (four, udp, "connect", "192.0.2.2", 54),
):
    print(call(family, kind, operation, address, port))
"""


def test_connect_on_real_sockets(bpffs: Path, pair: netns.Pair) -> None:
    refused, allowed = "EPERM", {"ok", "ECONNREFUSED"}
    with netns.cgroup() as (name, directory):
        data = bundle(
            "out",
            chain(
                "out", "connect", name, "reject",
                rule("allow", "web", proto=TCP, dport=80, dst=nets("192.0.2.0/24", "2001:db8::/32")),
                rule("allow", "dns", proto=UDP, dport=53),
            ),
        )  # fmt: skip
        up(data, bpffs)
        process = netns.python(pair.inner, SOCKETS, str(directory))
        out, err = process.communicate(timeout=30)
        answers = out.split()
        assert len(answers) == 13, err
        assert [a == refused for a in answers] == [i % 2 == 1 for i in range(10)] + [True, False, True]
        assert all(a in allowed for a in answers if a != refused), answers
        counted = counts(bpffs, "out")
        assert (counted["web"], counted["dns"], counted["default"]) == (3, 3, 7)
        swap.down("out", bpffs)


def test_programs_of_two_policies_share_a_tc_hook(bpffs: Path, pair: netns.Pair) -> None:
    first = chain(
        "one", "tc", pair.target, "pass", rule("drop", "a", proto=UDP, dport=1000), direction="ingress"
    )
    second = chain(
        "two", "tc", pair.target, "pass", rule("drop", "b", proto=UDP, dport=2000), direction="ingress"
    )
    up(policies.bundle("both", first, second), bpffs)
    assert [udp_arrivals(pair.inner, pair.outer, pair.inner4, port) for port in (1000, 2000, 3000)] == [
        0,
        0,
        3,
    ]
