"""Real clients of a service: names asked of a DNS server, Java, many connections at once, and backends that
die while calls come in.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from lockgate.runtime import backends, running
from lockgate.stdlib_bpf.balance.services import Backend
from tests.conftest import tool

from .. import netns
from .actions import counts
from .balancing import SERVE, stage

pytestmark = pytest.mark.kernel

V4, V6 = "10.96.0.10", "fd00:96::10"
DNS = f"""
balance dns for cgroup CGROUP {{
  vip {V4}, {V6}  port udp 53 -> 5353  port tcp 53 -> 5353
  backends {{ 127.0.0.1, 127.0.0.2, ::1 }}
}}
"""
# Answers questions for A (192.0.2.1) and AAAA (2001:db8::1), over UDP and TCP (RFC 1035 §4).
DNS_SERVER = """
import selectors, socket, struct, sys
ready = selectors.DefaultSelector()
for host in sys.argv[1:]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    u = socket.socket(family, socket.SOCK_DGRAM); u.bind((host, 5353))
    t = socket.create_server((host, 5353), family=family)
    ready.register(u, selectors.EVENT_READ, True); ready.register(t, selectors.EVENT_READ, False)
print("ready", flush=True)
def answer(asked):
    number, _, count = struct.unpack_from(">HHH", asked)
    at = 12
    while asked[at]: at += asked[at] + 1
    kind = struct.unpack_from(">H", asked, at + 1)[0]
    data = {1: socket.inet_aton("192.0.2.1"), 28: socket.inet_pton(socket.AF_INET6, "2001:db8::1")}.get(kind)
    head = struct.pack(">HHHHHH", number, 0x8180, 1, data is not None, 0, 0) + asked[12:at + 5]
    record = struct.pack(">HHHIH", 0xC00C, kind, 1, 60, len(data)) + data if data else b""
    return head + record
while True:
    for key, _ in ready.select():
        if key.data:
            asked, who = key.fileobj.recvfrom(4096)
            key.fileobj.sendto(answer(asked), who)
        else:
            c, _ = key.fileobj.accept()
            asked = c.recv(4096)
            found = answer(asked[2:])
            c.sendall(struct.pack(">H", len(found)) + found)
            c.close()
"""
RESOLVE = """
found = socket.getaddrinfo("shop.test", 80, type=socket.SOCK_STREAM)
say(sorted(at[0] for *_, at in found))
question = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + b"\\x04shop\\x04test\\0" + struct.pack(">HH", 1, 1)
for address in sys.argv[1:]:
    open_, connected = udp(address), udp(address)
    open_.sendto(question, (address, 53))
    first = open_.recvfrom(512)
    connected.connect((address, 53)); connected.send(question)
    second = connected.recvfrom(512)
    say(first[0][-4:].hex(), first[1][:2], second[0][-4:].hex(), second[1][:2])
"""


@pytest.mark.parametrize("server", [V4, V6])
def test_names_are_found_through_a_service_of_name_servers(bpffs: Path, tmp_path: Path, server: str) -> None:
    """By the C library's resolver, which takes answers only from whom it has asked, of both families at once;
    and by sockets that connect, and others that do not."""
    resolv, switch = tmp_path / "resolv.conf", tmp_path / "nsswitch.conf"
    resolv.write_text(f"nameserver {server}\noptions timeout:2 attempts:2\n")
    switch.write_text("hosts: dns\n")
    with stage(bpffs, []) as here:
        names = netns.python(here.netns, DNS_SERVER, "127.0.0.1", "127.0.0.2", "::1")
        try:
            assert names.stdout is not None and names.stdout.readline() == "ready\n"
            here.balance(DNS)
            binds = f"mount --bind {resolv} /etc/resolv.conf && mount --bind {switch} /etc/nsswitch.conf"
            mounted = ["unshare", "-m", "sh", "-c", f'{binds} && exec "$@"', "sh"]
            done = netns.run(*mounted, *here.command(RESOLVE, V4, V6), check=False)
            assert done.returncode == 0, done.stderr
            said = [json.loads(line) for line in done.stdout.splitlines()]
            assert said[0] == [["192.0.2.1", "2001:db8::1"]]
            for address, found in zip((V4, V6), said[1:], strict=True):
                assert found == ["c0000201", [address, 53], "c0000201", [address, 53]]
        finally:
            names.kill()
            names.communicate()


JAVA = """
import java.io.*; import java.net.*; import java.nio.channels.*; import java.nio.*;
public class Client {
    public static void main(String[] at) throws Exception {
        for (String host : at) {
            try (Socket s = new Socket(host, 443)) {
                byte[] said = new byte[100];
                int n = s.getInputStream().read(said);
                System.out.println(new String(said, 0, n) + " " + s.getRemoteSocketAddress());
            }
            try (SocketChannel c = SocketChannel.open(new InetSocketAddress(host, 443))) {
                ByteBuffer said = ByteBuffer.allocate(100);
                c.read(said);
                System.out.println(new String(said.array(), 0, said.position()) + " " + c.getRemoteAddress());
            }
        }
    }
}
"""
SHOP = f"""
balance shop for cgroup CGROUP {{
  vip {V4}, {V6}  port tcp 443 -> 8443  spread round-robin
  backends {{ 127.0.0.1, 127.0.0.2, 127.0.0.3, ::1 }}
}}
"""
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "::1")


def test_java_calls_a_service_of_both_families(bpffs: Path, tmp_path: Path) -> None:
    """Its sockets are of IPv6 for IPv4 too, so that the kernel sees mapped addresses."""
    java, source = tool("java"), tmp_path / "Client.java"
    source.write_text(JAVA)
    with stage(bpffs, [(host, 8443) for host in HOSTS]) as here:
        here.balance(SHOP)
        done = netns.run(*here.enters(java, "-Xmx128m", str(source), V4, V6), check=False)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert len(lines) == 4
        assert all(line.startswith("127.0.0.") and line.endswith(f"/{V4}:443") for line in lines[:2])
        assert all(line.startswith("::1 8443 /[fd00:96:0:0:0:0:0:10]") for line in lines[2:]), lines


MANY = """
import resource
count = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100, count + 100))
held = [tcp("10.96.0.10", 443) for _ in range(count)]
who = {}
for s in held:
    name = s.recv(100).decode()
    who[name] = who.get(name, 0) + 1
say(who, sum(s.getpeername() == ("10.96.0.10", 443) for s in held))
"""


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=pytest.mark.exhaustive)])
def test_many_connections_at_once(bpffs: Path, count: int) -> None:
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({count + 200},) * 2)\n"
    with stage(bpffs, []) as here:
        served = json.dumps([(host, 8443) for host in HOSTS])
        server = netns.python(here.netns, limited + SERVE, served)
        try:
            assert server.stdout is not None and server.stdout.readline() == "ready\n"
            here.balance(SHOP)
            ((who, peers),) = here.client(MANY, str(count))
            assert sum(who.values()) == peers == count, "all are there, and talk to the service"
            assert max(who.values()) - min(who.values()) <= 1 and len(who) == 3, "turn by turn"
        finally:
            server.kill()
            server.communicate()


LOAD = """
import select
first = again = done = 0
say("ready")
while not select.select([sys.stdin], [], [], 0.001)[0]:
    done += 1
    if not call("10.96.0.10", 443).endswith("8443"):
        first += 1
        again += not call("10.96.0.10", 443).endswith("8443")
say(done, first, again)
"""


def test_drained_backends_fail_nobody_and_killed_ones_at_most_once(bpffs: Path) -> None:
    """A drained backend is stopped when its clients are gone. One that is killed refuses whoever is sent
    there until it is removed; a service of three sends the second attempt to another one, turn by turn."""
    with stage(bpffs, []) as here:
        servers = {}
        for host in HOSTS[:3]:
            servers[host] = netns.python(here.netns, SERVE, json.dumps([(host, 8443)]))
        try:
            for server in servers.values():
                assert server.stdout is not None and server.stdout.readline() == "ready\n"
            here.balance(SHOP)
            policy = running.find(bpffs, "policy")

            def under_load(host: str, drains: bool) -> list[int]:
                client = subprocess.Popen(
                    here.command(LOAD), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
                try:
                    assert client.stdin is not None and client.stdout is not None
                    client.stdout.readline()
                    if drains:
                        backends.drain(policy, "shop", Backend(host), True)
                        _calls(bpffs, 2)  # one after the other: what was under way is over
                    else:
                        servers[host].kill()
                        servers[host].wait()
                        _calls(bpffs, 10)
                    backends.remove(policy, "shop", Backend(host))
                    servers[host].kill()
                    _calls(bpffs, 20)
                    client.stdin.close()
                    found: list[int] = json.loads(client.stdout.readline())
                    return found
                finally:
                    client.kill()
                    client.wait()

            done, first, again = under_load(HOSTS[0], drains=True)
            print(f"drained: {done} calls, {first} failed")
            assert done >= 20 and (first, again) == (0, 0)
            done, first, again = under_load(HOSTS[1], drains=False)
            print(f"killed: {done} calls, {first} failed at first, {again} once more")
            assert done >= 20 and first > 0 and again == 0
        finally:
            for server in servers.values():
                server.kill()
                server.communicate()


def _calls(bpffs: Path, count: int) -> None:
    """Wait until so many more calls have been balanced."""
    before = counts(bpffs, "policy")["shop"]
    while counts(bpffs, "policy")["shop"] < before + count:
        time.sleep(0.01)


RAW = """
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
s.sendto(bytes([0x9c, 0x40, 0, 53, 0, 8, 0, 0]), (sys.argv[1], 0))
say("sent")
"""


def test_packets_that_connect_time_does_not_see_are_counted_where_they_leave(bpffs: Path) -> None:
    """As docs/balance.md says: a rule at tc for the service's address meets what nobody has balanced."""
    servers = [(host, 5353) for host in ("127.0.0.1", "127.0.0.2")]
    with stage(bpffs, servers) as here:
        netns.run("ip", "-n", here.netns, "route", "add", f"{V4}/32", "dev", "lo")
        here.balance(
            f"""{DNS}policy unseen at tc on "{here.netns}/lo" {{
              default allow
              egress {{ to-services: continue tcp, udp to {{ {V4}, {V6} }} }}
            }}"""
        )
        asked = f'u = udp("{V4}"); u.sendto(b"?", ("{V4}", 53)); say(u.recvfrom(100)[1])'
        assert here.client(asked) == [[[V4, 53]]]
        assert counts(bpffs, "policy")["to-services"] == 0, "the service's address is on no wire"
        assert here.client(RAW, V4) == [["sent"]]
        assert counts(bpffs, "policy")["to-services"] == 1
