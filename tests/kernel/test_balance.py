"""Balancers on real sockets: who answers, and whom clients believe to talk to."""

from __future__ import annotations

from pathlib import Path

import pytest

from .actions import counts, lockgate
from .balancing import stage

pytestmark = pytest.mark.kernel

V4, V6 = "10.96.0.40", "fd00:96::40"
BACKENDS = [
    ("127.0.0.1", 8443),
    ("127.0.0.2", 8443),
    ("::1", 8443),
    ("127.0.0.1", 5353),
    ("127.0.0.2", 5353),
    ("::1", 5353),
]
SHOP = f"""
balance shop for cgroup CGROUP {{
  vip      {V4}, {V6}
  port     tcp 443 -> 8443
  port     udp 53 -> 5353
  backends {{ 127.0.0.1, 127.0.0.2, ::1 }}
}}
"""

TCP = """
for address in sys.argv[1:]:
    with tcp(address, 443) as s:
        say(s.recv(100).decode(), s.getpeername()[:2])
"""

UDP_CONNECTED = """
for address in sys.argv[1:]:
    with udp(address) as s:
        s.connect((address, 53))
        s.send(b"?")
        answer, who = s.recvfrom(100)
        say(answer.decode(), who[:2], s.getpeername()[:2])
"""

UDP_UNCONNECTED = """
for address in sys.argv[1:]:
    with udp(address) as s:
        for _ in range(20):
            s.sendto(b"?", (address, 53))
            answer, who = s.recvfrom(100)
            say(answer.decode(), who[:2])
"""


def test_a_call_reaches_a_backend_and_believes_to_talk_to_the_service(bpffs: Path) -> None:
    with stage(bpffs, BACKENDS) as here:
        here.balance(SHOP)
        mapped = f"::ffff:{V4}"
        for address, answers in ((V4, "127.0.0."), (V6, "::1"), (mapped, "127.0.0.")):
            ((who, peer),) = here.client(TCP, address)
            assert who.startswith(answers) and who.endswith(" 8443")
            assert peer == [address, 443]
            ((who, source, peer),) = here.client(UDP_CONNECTED, address)
            assert who.startswith(answers) and who.endswith(" 5353")
            assert source == peer == [address, 53]
            said = here.client(UDP_UNCONNECTED, address)
            assert len({who for who, _ in said}) == 1, "datagrams of one socket go to one backend"
            assert said[0][0].startswith(answers)
            assert all(source == [address, 53] for _, source in said)
        assert counts(bpffs, "policy")["shop"] == 9, "a socket's later datagrams are not counted again"
        assert lockgate("down", "policy", "--bpffs", str(bpffs)).returncode == 0


def test_undeclared_ports_are_refused_and_other_calls_left_alone(bpffs: Path) -> None:
    with stage(bpffs, BACKENDS) as here:
        here.balance(SHOP)
        code = f"""
say(call("{V4}", 80), call("{V6}", 80), call("::ffff:{V4}", 80))
for address in ("{V4}", "{V6}"):
    s = udp(address)
    try: s.sendto(b"?", (address, 54))
    except OSError as error: say(errno.errorcode[error.errno])
    try: s.connect((address, 443))
    except OSError as error: say(errno.errorcode[error.errno])
say(call("127.0.0.1", 8443), call("127.0.0.9", 443))
s = tcp("127.0.0.2", 8443)
say(s.getpeername()[0])
ping = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
try: ping.connect(("{V4}", 0))
except OSError as error: say(errno.errorcode[error.errno])
"""
        netns_file = "/proc/sys/net/ipv4/ping_group_range"
        code = f"open('{netns_file}', 'w').write('0 2147483647')\n" + code
        said = here.client(code)
        assert said[0] == ["ECONNREFUSED"] * 3
        assert said[1:5] == [["ECONNREFUSED"]] * 4
        assert said[5] == ["127.0.0.1 8443", "ECONNREFUSED"]
        assert said[6] == ["127.0.0.2"]
        assert said[7] == ["ENETUNREACH"], "a ping goes on as it is, and there is no such network here"
        assert counts(bpffs, "policy")["shop: undeclared port"] == 7
