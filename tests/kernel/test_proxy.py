"""Calls that go to a local proxy: who is called, what the proxy learns, and what the caller believes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .. import netns
from .actions import counts, lockgate
from .balancing import Stage, stage

pytestmark = pytest.mark.kernel

V4, V6 = "10.96.0.7", "fd00:96::7"
BACKENDS = [(V4, 80), (V6, 80), (V4, 8080)]
MESH = """
proxy side = port 15001 in cgroup PROXY

policy mesh at connect for cgroup CGROUP {
  default allow
  web: redirect tcp to any port 80 via side
}
"""

# A proxy that passes on what it gets to the original destination, and says what it learnt of each caller.
PROXY = """
import selectors
SOL_IPV6 = 41
def original(s):
    def asked(level, size):
        try: return s.getsockopt(level, 80, size)
        except OSError as error: return errno.errorcode[error.errno]
    four, six = asked(socket.SOL_IP, 16), asked(SOL_IPV6, 28)
    if isinstance(four, bytes):
        return [socket.inet_ntop(socket.AF_INET, four[4:8]), struct.unpack(">H", four[2:4])[0], six]
    if isinstance(six, bytes):
        return [socket.inet_ntop(socket.AF_INET6, six[8:24]), struct.unpack(">H", six[2:4])[0], four]
    return [four, six]
four = socket.create_server(("127.0.0.1", 15001), backlog=256)
six = socket.create_server(("::1", 15001), family=socket.AF_INET6, backlog=256)
ready = selectors.DefaultSelector()
for s in (four, six): ready.register(s, selectors.EVENT_READ)
say("ready")
while True:
    for key, _ in ready.select():
        s, peer = key.fileobj.accept()
        if len(sys.argv) > 1: time.sleep(float(sys.argv[1]))
        where = original(s)
        say(where, s.getpeername()[0], peer[0])
        if len(where) == 3:
            s.sendall(b"by proxy: " + call(*where[:2]).encode())
        s.close()
"""


@contextmanager
def proxied(bpffs: Path, text: str = MESH, pause: str = "") -> Iterator[tuple[Stage, subprocess.Popen[str]]]:
    """A stage with backends, a proxy in a cgroup of its own below the callers', and the policy."""
    with stage(bpffs, BACKENDS) as here:
        (here.directory / "proxy").mkdir()
        try:
            command = here.command(PROXY, *[pause] * bool(pause), below="proxy")
            proxy = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            try:
                assert heard(proxy) == ["ready"]
                here.balance(text.replace("PROXY", f'"/{here.name}/proxy"'))
                yield here, proxy
            finally:
                proxy.kill()
                proxy.communicate()
                lockgate("down", "policy", "--bpffs", str(bpffs))
        finally:
            netns.remove_cgroup(here.directory / "proxy")


def heard(proxy: subprocess.Popen[str]) -> Any:
    """What the proxy says next."""
    assert proxy.stdout is not None
    return json.loads(proxy.stdout.readline())


CALL = """
for address in sys.argv[1:]:
    with tcp(address, 80) as s:
        say(s.recv(100).decode(), s.getpeername()[:2])
"""


def test_the_proxy_learns_whom_a_call_was_for_and_the_caller_sees_nobody_else(bpffs: Path) -> None:
    with proxied(bpffs) as (here, proxy):
        for address, local in ((V4, "127.0.0.1"), (V6, "::1"), (f"::ffff:{V4}", "127.0.0.1")):
            ((said, peer),) = here.client(CALL, address)
            plain = address.removeprefix("::ffff:")
            assert said == f"by proxy: {plain} 80" and peer == [address, 80]
            where, named, accepted = heard(proxy)
            assert where[:2] == [plain, 80] and isinstance(where[2], str), "of one family only"
            assert named == accepted == local, "the proxy sees its caller"
        assert counts(bpffs, "policy")["web"] == 3, "the proxy's own calls go on to where they are for"
        assert here.client(f'say(call("{V4}", 8080))') == [[f"{V4} 8080"]]


def test_a_caller_that_is_gone_before_the_proxy_looks_is_known_all_the_same(bpffs: Path) -> None:
    with proxied(bpffs, pause="0.3") as (here, proxy):
        here.client(f'tcp("{V4}", 80).close()')
        assert heard(proxy)[0][:2] == [V4, 80]


def test_other_calls_and_callers_are_left_alone(bpffs: Path) -> None:
    """A socket that talked to the proxy and then talks to somebody else; one that calls the proxy itself; a
    call from outside; UDP."""
    code = f"""
s = tcp("{V4}", 80); s.recv(100)
libc = __import__("ctypes").CDLL(None, use_errno=True)
assert libc.connect(s.fileno(), struct.pack("H14x", socket.AF_UNSPEC), 16) == 0
s.connect(("{V4}", 8080))
say(s.recv(100).decode(), s.getpeername())
own = tcp("127.0.0.1", 15001); own.recv(1); say(own.getpeername())
u = udp("{V4}"); u.connect(("{V4}", 80)); say(u.getpeername())
"""
    with proxied(bpffs) as (here, proxy):
        assert here.client(code) == [[f"{V4} 8080", [V4, 8080]], [["127.0.0.1", 15001]], [[V4, 80]]]
        assert heard(proxy)[0][:2] == [V4, 80]
        assert len(heard(proxy)[0]) == 2, "who calls the proxy itself has no other destination"
        outside = netns.inside(here.netns, "bash", "-c", f"head -c 12 < /dev/tcp/{V4}/80")
        assert netns.run(*outside).stdout.startswith(V4)


def test_calls_to_a_proxy_that_is_not_there_are_refused_and_down_ends_it(bpffs: Path) -> None:
    with proxied(bpffs) as (here, proxy):
        proxy.kill()
        proxy.wait()
        say = f'say(call("{V4}", 80), call("{V6}", 80))'
        assert here.client(say) == [["ECONNREFUSED"] * 2]
        assert lockgate("down", "policy", "--bpffs", str(bpffs)).returncode == 0
        assert here.client(say) == [[f"{V4} 80", f"{V6} 80"]]
