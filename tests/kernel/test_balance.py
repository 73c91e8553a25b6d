"""Balancers on real sockets: who answers, and whom clients believe to talk to."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from lockgate.runtime import backends as runtime
from lockgate.runtime import running
from lockgate.stdlib_bpf.balance import choice
from lockgate.stdlib_bpf.balance.reference import answer
from lockgate.stdlib_bpf.balance.services import Backend
from tests.conftest import tool

from .. import netns
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


LAW = """
for _ in range(int(sys.argv[1])):
    with tcp("10.96.0.40", 443) as s:
        say(cookie(s), s.recv(100).decode().split()[0])
"""


def test_the_kernel_chooses_as_is_written_down(bpffs: Path) -> None:
    """The reference, given the socket's cookie, names the backend that answers: before and after a change."""
    backends = [Backend(f"127.0.0.{n}", weight=n) for n in range(1, 6)]
    listed = ", ".join(f"{b.address} weight {b.weight}" for b in backends)
    text = f"balance law for cgroup CGROUP {{ vip {V4}  port tcp 443 -> 8443  backends {{ {listed} }} }}"
    with stage(bpffs, [(b.address, 8443) for b in backends]) as here:
        here.balance(text)
        policy = running.find(bpffs, "policy")
        (service,) = policy.state.manifest.chains[0].services
        drained = [*backends[:2], replace(backends[2], draining=True), *backends[3:]]
        for change, now in (
            (lambda: None, backends),
            (lambda: runtime.drain(policy, "law", backends[2], True), drained),
            (lambda: runtime.remove(policy, "law", backends[0]), drained[1:]),
            (lambda: runtime.add(policy, "law", backends[0]), [*drained[1:], backends[0]]),
        ):
            change()
            table = choice.table(service, now)
            for key, who in here.client(LAW, "60"):
                place = choice.maglev_choice(key, 0, table)
                assert place is not None and now[place].address == who


def test_calls_are_spread_by_weight(bpffs: Path) -> None:
    """Chi-square of 400 calls with two degrees of freedom: 13.8 is passed once in a thousand. What is random
    is the kernel's (cookies and bpf_get_prandom_u32), so there is no seed; round-robin leaves nothing to
    chance."""
    shares = {"127.0.0.1": 5, "127.0.0.2": 3, "127.0.0.3": 2}
    listed = ", ".join(f"{address} weight {weight}" for address, weight in shares.items())
    for spread in ("maglev", "random", "round-robin"):
        text = f"""balance b for cgroup CGROUP {{
          vip {V4}  port tcp 443 -> 8443  spread {spread}  backends {{ {listed} }} }}"""
        with stage(bpffs, [(a, 8443) for a in shares]) as here:
            here.balance(text)
            got = Counter(who for _, who in here.client(LAW, "400"))
            lockgate("down", "policy", "--bpffs", str(bpffs))
        chi = sum((got[a] - 40 * w) ** 2 / (40 * w) for a, w in shares.items())
        print(spread, dict(got), f"chi-square {chi:.2f}")
        assert chi < (13.8 if spread != "round-robin" else 1e-9)


def test_a_client_keeps_its_backend_until_it_has_been_away(bpffs: Path) -> None:
    """Clients share a namespace; in the host's, a cgroup. Random spread, so that only affinity can explain
    it."""
    text = f"""balance b for cgroup CGROUP {{ vip {V4}  port tcp 443 -> 8443  spread random
      affinity client 800ms  backends {{ {", ".join(f"127.0.0.{n}" for n in range(1, 9))} }} }}"""
    calls = """
for pause in (0, 0.3, 0.3, 0.3): time.sleep(pause); say(call("10.96.0.40", 443))
seen = set()
for _ in range(6): time.sleep(0.9); seen.add(call("10.96.0.40", 443))
say(len(seen))
"""
    with stage(bpffs, [(f"127.0.0.{n}", 8443) for n in range(1, 9)]) as here:
        here.balance(text)
        *kept, (later,) = here.client(calls)
        assert len({who for (who,) in kept}) == 1, "each call makes it stay for as long again"
        assert later > 1, "eight backends at random, six times"


def test_affinity_outlives_draining_and_a_replacement_and_ends_with_its_backend(bpffs: Path) -> None:
    names = [f"127.0.0.{n}" for n in range(1, 9)]
    text = f"""balance b for cgroup CGROUP {{ vip {V4}  port tcp 443 -> 8443  spread random
      affinity client 1h  backends {{ {", ".join(names)} }} }}"""
    once = 'say(call("10.96.0.40", 443).split()[0])'
    with stage(bpffs, [(name, 8443) for name in names]) as here:
        here.balance(text)
        ((first,),) = here.client(once)
        runtime.drain(running.find(bpffs, "policy"), "b", Backend(first), True)
        assert here.client(once) == [[first]], "a backend that drains keeps its clients"
        here.balance(text.replace("127.0.0.1", "127.0.0.9, 127.0.0.1") if first != "127.0.0.1" else text)
        assert here.client(once) == [[first]], "the new policy has the backend, too"
        policy = running.find(bpffs, "policy")
        runtime.remove(policy, "b", Backend(first))
        ((second,),) = here.client(once)
        assert second != first
        runtime.add(policy, "b", Backend(first))
        assert here.client(once) == [[second]], "who comes back is somebody new"


def test_exempt_cgroups_see_the_service_as_it_is(bpffs: Path) -> None:
    with stage(bpffs, [*BACKENDS, (V4, 443)]) as here:
        for below in ("mesh", "mesh/inner", "shop"):
            (here.directory / below).mkdir()
        try:
            exempt = f'  exempt cgroup "/{here.name}/mesh"\n}}'
            here.balance(SHOP.rstrip().removesuffix("}") + exempt)
            once = f'say(call("{V4}", 443), call("{V4}", 9))'
            direct = [[f"{V4} 443", "ECONNREFUSED"]]
            assert here.client(once, below="mesh") == here.client(once, below="mesh/inner") == direct
            for below in ("", "shop"):
                ((who, _),) = here.client(once, below=below)
                assert who.startswith("127.0.0.")
            assert counts(bpffs, "policy")["shop: undeclared port"] == 2, "of those that are not exempt"
        finally:
            for below in ("mesh/inner", "mesh", "shop"):
                netns.remove_cgroup(here.directory / below)


def test_an_empty_service_refuses_or_passes(bpffs: Path) -> None:
    for empty, said in (("reject", "ECONNREFUSED"), ("pass", f"{V4} 443")):
        text = f"""balance b for cgroup CGROUP {{
          vip {V4}  port tcp 443 -> 8443  empty {empty}  backends {{ 127.0.0.1 }} }}"""
        with stage(bpffs, [("127.0.0.1", 8443), (V4, 443)]) as here:
            here.balance(text)
            runtime.remove(running.find(bpffs, "policy"), "b", Backend("127.0.0.1"))
            assert here.client(f'say(call("{V4}", 443))') == [[said]]
            assert counts(bpffs, "policy")["b: no backend"] == 1
            lockgate("down", "policy", "--bpffs", str(bpffs))


NEW = "balance new for cgroup CGROUP { vip 10.96.0.99  port udp 53  backends { 127.0.0.1 } }"


def test_sockets_keep_their_service_when_the_policy_is_replaced(bpffs: Path) -> None:
    code = f"""
s = tcp("{V4}", 443); u = udp("{V4}")
def both():
    u.sendto(b"?", ("{V4}", 53))
    who, source = u.recvfrom(100)
    say(s.getpeername(), source, who.decode())
both(); sys.stdin.readline(); both()
"""
    with stage(bpffs, BACKENDS) as here:
        here.balance(SHOP)
        client = subprocess.Popen(
            here.command(code), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            assert client.stdin is not None and client.stdout is not None
            before = client.stdout.readline()
            here.balance(NEW + SHOP)
            client.stdin.write("\n")
            client.stdin.flush()
            assert client.stdout.readline() == before and V4 in before
        finally:
            client.kill()
            client.communicate()


def test_a_socket_may_talk_to_several_services_and_be_connected_to_others(bpffs: Path) -> None:
    vips = [f"10.96.0.{n}" for n in range(1, 5)]
    text = "".join(
        f"balance b{n} for cgroup CGROUP {{ vip {vip}  port udp 53 -> 5353  backends {{ 127.0.0.{n} }} }}\n"
        for n, vip in enumerate(vips, 1)
    )
    code = """
s = udp("127.0.0.1")
for _ in range(3):
    for vip in sys.argv[1:]:
        s.sendto(b"?", (vip, 53))
        who, source = s.recvfrom(100)
        say(vip, source[0], who.decode().split()[0])
s.sendto(b"?", ("127.0.0.4", 5353)); say(*s.recvfrom(100)[1])
for vip in sys.argv[1:]: s.sendto(b"?", (vip, 53))
say(sorted(s.recvfrom(100)[1][0] for _ in sys.argv[1:]))
try: s.sendto(b"?", (sys.argv[1], 54))
except OSError as error: say(errno.errorcode[error.errno])
s.sendto(b"?", ("127.0.0.1", 5354)); say(*s.recvfrom(100)[1])
c = udp("127.0.0.1")
for vip in sys.argv[1:]:
    c.connect((vip, 53)); say(c.getpeername()[0])
c.connect(("127.0.0.4", 5353)); say(c.getpeername()[0])
c.send(b"?"); say(c.recvfrom(100)[1][0])
"""
    with stage(bpffs, [*[(f"127.0.0.{n}", 5353) for n in range(1, 5)], ("127.0.0.1", 5354)]) as here:
        here.balance(text)
        said = here.client(code, *vips)
        assert said[:12] == [[vip, vip, f"127.0.0.{n}"] for _ in range(3) for n, vip in enumerate(vips, 1)]
        assert said[13:16] == [[vips], ["ECONNREFUSED"], ["127.0.0.1", 5354]]
        assert said[16:20] == [[vip] for vip in vips]
        assert said[20:] == [["127.0.0.4"], ["127.0.0.4"]], "the host itself, whatever was before"


REAL = """
import asyncio
async def main():
    reader, writer = await asyncio.open_connection("shop.test", 443)
    say((await reader.read(100)).decode(), writer.get_extra_info("peername")[0])
    writer.close()
asyncio.run(main())
for version in (socket.AF_INET, socket.AF_INET6):
    ((_, _, _, _, where),) = socket.getaddrinfo("shop.test", 443, version, socket.SOCK_STREAM)
    say(call(where[0], where[1]))
dual = socket.socket(socket.AF_INET6)
dual.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
dual.settimeout(5)
dual.connect(("::ffff:10.96.0.40", 443)); say(dual.recv(100).decode(), dual.getpeername()[0])
"""


WEB = "balance web for cgroup CGROUP { vip 10.96.0.80  port tcp 80 -> 8080  backends { 127.0.0.1 } }"

SERVE_WEB = """
import socket
s = socket.create_server(("127.0.0.1", 8080))
print("ready", flush=True)
while True:
    c, _ = s.accept()
    c.recv(4096)
    c.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nhello")
    c.close()
"""


def test_real_clients_find_a_service_by_its_name(bpffs: Path, tmp_path: Path) -> None:
    """asyncio, getaddrinfo of both families, and curl, whose own words say whom it talks to."""
    curl = tool("curl")
    hosts = tmp_path / "hosts"
    hosts.write_text(f"{V6} shop.test\n{V4} shop.test\n")
    with stage(bpffs, BACKENDS) as here:
        here.balance(SHOP + WEB)
        web = netns.python(here.netns, SERVE_WEB)
        try:
            assert web.stdout is not None
            web.stdout.readline()
            mounted = ["unshare", "-m", "sh", "-c", f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh"]
            done = netns.run(*mounted, *here.command(REAL), check=False)
            assert done.returncode == 0, done.stderr
            said = done.stdout.splitlines()
            answers = [json.loads(line) for line in said]
            assert answers[0][1] in (V4, V6) and answers[0][0].endswith(" 8443")
            assert answers[1][0].startswith("127.0.0.") and answers[2] == ["::1 8443"]
            assert answers[3][1] == f"::ffff:{V4}"
            shown = netns.run(*here.enters(curl, "-sv", "http://10.96.0.80/"))
            assert shown.stdout == "hello"
            assert "Connected to 10.96.0.80 (10.96.0.80) port 80" in shown.stderr
            peers = netns.run(*netns.inside(here.netns, "ss", "-tan")).stdout
            assert "10.96.0.80" not in peers, "what the kernel sends has no service's address"
        finally:
            web.kill()
            web.communicate()


ANSWERS = """
for protocol, address, port in json.loads(sys.argv[1]):
    s = socket.socket(family(address), socket.SOCK_STREAM if protocol == 6 else socket.SOCK_DGRAM)
    s.settimeout(5)
    try:
        s.connect((address, port)); say("ok", s.getpeername()[:2])
    except OSError as error: say(errno.errorcode[error.errno], None)
"""


def test_the_kernel_answers_calls_as_the_reference_does(bpffs: Path) -> None:
    """UDP of both families to services, beside them and to their ports and others; TCP where it must fail."""
    text = SHOP + f"balance two for cgroup CGROUP {{ vip {V4[:-1]}1  port udp 54  backends {{ 127.0.0.1 }} }}"
    hosts, ports = (V4, V6, f"{V4[:-1]}1", "127.0.0.1", "::1"), (1, 52, 53, 54, 443, 444, 5353, 65535)
    calls = [(17, host, port) for host in hosts for port in ports]
    with stage(bpffs, BACKENDS) as here:
        here.balance(text)
        services = running.find(bpffs, "policy").state.manifest.chains[0].services
        wanted = [answer(services, *call) for call in calls]
        assert {one.verdict for one in wanted} == {"allow", "reject"}
        for call, one, (said, peer) in zip(
            calls, wanted, here.client(ANSWERS, json.dumps(calls)), strict=True
        ):
            assert said == ("ok" if one.verdict == "allow" else "ECONNREFUSED"), call
            assert peer in (None, list(call[1:])), "the peer is who was called, a service or not"
        refused = [(6, host, port) for host in hosts[:3] for port in ports if (host, port) != (V4, 443)]
        refused = [c for c in refused if answer(services, *c).verdict == "reject"]
        assert {said for said, _ in here.client(ANSWERS, json.dumps(refused))} == {"ECONNREFUSED"}
