"""Backends that change while calls come in: who gets new ones, who keeps old ones, which sockets end."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from lockgate.runtime import backends, running
from lockgate.stdlib_bpf.balance.services import Backend

from .actions import lockgate, lockgate_json
from .balancing import Stage, stage

pytestmark = pytest.mark.kernel

VIP, VIP6, OTHER = "10.96.0.40", "fd00:96::40", "10.96.0.41"
NAMES = [f"127.0.0.{n}" for n in range(1, 5)]
SERVERS = [(name, port) for name in [*NAMES, "::1"] for port in (8443, 5353)]
SHOP = f"""
balance shop for cgroup CGROUP {{
  vip      {VIP}, {VIP6}
  port     tcp 443 -> 8443
  port     udp 53 -> 5353
  backends {{ 127.0.0.1, 127.0.0.2, ::1 }}
}}
balance other for cgroup CGROUP {{
  vip      {OTHER}
  port     udp 53 -> 5353
  backends {{ 127.0.0.1 }}
}}
"""

MANY = """
for _ in range(int(sys.argv[2])):
    say(call(sys.argv[1], 443))
"""


def backend(here: Stage, *arguments: str) -> subprocess.CompletedProcess[str]:
    return lockgate("backend", *arguments, "--bpffs", str(here.bpffs))


def answering(here: Stage, vip: str = VIP, calls: int = 60) -> Counter[str]:
    """Who answers so many calls."""
    return Counter(who.split()[0] for (who,) in here.client(MANY, vip, str(calls)))


def test_backends_come_go_and_change_their_share(bpffs: Path) -> None:
    with stage(bpffs, SERVERS) as here:
        here.balance(SHOP)
        assert set(answering(here)) == {"127.0.0.1", "127.0.0.2"}
        assert backend(here, "add", "shop", "127.0.0.3", "--weight", "20").stdout == "shop: 127.0.0.3 added\n"
        assert answering(here)["127.0.0.3"] > 40
        assert backend(here, "weight", "shop", "127.0.0.3", "1").returncode == 0
        assert answering(here)["127.0.0.3"] < 40
        assert backend(here, "drain", "shop", "127.0.0.1").returncode == 0
        assert set(answering(here)) == {"127.0.0.2", "127.0.0.3"}
        assert backend(here, "del", "shop", "127.0.0.2").stdout == "shop: 127.0.0.2 removed, 0 sockets\n"
        assert set(answering(here)) == {"127.0.0.3"}
        listed = lockgate_json("backend", "list", "shop", "--bpffs", str(bpffs), "--output", "json")
        row = {"policy": "policy", "service": "shop", "weight": 1}
        row |= {"draining": False, "failing": False, "local": False}
        assert listed == [
            row | {"backend": "127.0.0.1", "draining": True},
            row | {"backend": "127.0.0.3"},
            row | {"backend": "::1"},
        ]
        assert backend(here, "drain", "--off", "shop", "127.0.0.1").returncode == 0
        assert backend(here, "del", "shop", "127.0.0.3").returncode == 0
        assert set(answering(here)) == {"127.0.0.1"}
        assert set(answering(here, VIP6)) == {"::1"}
        assert backend(here, "del", "shop", "127.0.0.1").returncode == 0
        assert here.client(MANY, VIP, "1") == [["ECONNREFUSED"]]
        assert backend(here, "add", "shop", "127.0.0.4").returncode == 0
        assert set(answering(here)) == {"127.0.0.4"}


def test_what_cannot_be_done_changes_nothing_and_says_why(bpffs: Path) -> None:
    with stage(bpffs, SERVERS) as here:
        here.balance(SHOP)
        before = backend(here, "list").stdout
        for arguments, said in (
            (("add", "shop", "127.0.0.1"), "is a backend of `shop` already"),
            (("add", "other", "::1"), "`other` has no IPv6 address"),
            (("add", "shop", "127.0.0.3", "--weight", "0"), "weights are 1 to 1000"),
            (("del", "shop", "127.0.0.9"), "`127.0.0.9` is no backend of `shop`"),
            (("del", "shop", "127.0.0.1:8443"), "is no backend of `shop`"),
            (("drain", "shap", "127.0.0.1"), "no loaded policy has a service `shap`"),
            (("weight", "shop", "127.0.0.1", "1001"), "weights are 1 to 1000"),
            (("add", "shop", "127.0.0"), "`127.0.0` is no backend"),
        ):
            done = backend(here, *arguments)
            assert done.returncode == 2 and said in done.stderr, (arguments, done.stderr)
        assert backend(here, "list").stdout == before


KEEPING = """
sockets = {}
held = tcp("VIP", 443); held.setblocking(True); say(held.recv(100).decode())
direct = tcp("127.0.0.1", 8443); direct.recv(100)
connected = udp("VIP"); connected.connect(("VIP", 53))
unconnected = udp("VIP")
def asked(s, *to):
    s.sendto(b"?", *to) if to else s.send(b"?")
    return s.recvfrom(100)[0].decode()
say(asked(connected)); say(asked(unconnected, ("VIP", 53)), asked(unconnected, ("OTHER", 53)))
say("ready"); sys.stdin.readline()
def state(s):
    try:
        s.settimeout(0.3)
        return s.recv(10).decode()
    except TimeoutError: return "open"
    except OSError as error: return errno.errorcode[error.errno]
say(state(held), state(direct), state(connected), state(unconnected))
say(asked(unconnected, ("VIP", 53)), asked(unconnected, ("OTHER", 53)))
direct.send(b"x"); say(direct.getpeername()[0])
""".replace("VIP", VIP).replace("OTHER", OTHER)


def test_removal_ends_the_sockets_connected_to_a_backend_and_no_others(bpffs: Path) -> None:
    """A socket that went to the backend by itself stays, and so does one that sends without being connected:
    that one goes on with another backend."""
    text = SHOP.replace("127.0.0.1, 127.0.0.2", "127.0.0.1")
    with stage(bpffs, SERVERS) as here:
        here.balance(text)
        client = subprocess.Popen(
            here.command(KEEPING), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            assert client.stdin is not None and client.stdout is not None
            said = [json.loads(client.stdout.readline()) for _ in range(4)]
            assert said[-1] == ["ready"] and all(
                who.startswith("127.0.0.1 ") for one in said[:3] for who in one
            )
            assert backend(here, "add", "shop", "127.0.0.2").returncode == 0
            removed = backend(here, "del", "shop", "127.0.0.1")
            assert removed.stdout == "shop: 127.0.0.1 removed, 2 sockets\n"
            client.stdin.write("\n")
            client.stdin.flush()
            states, answers, peer = (json.loads(client.stdout.readline()) for _ in range(3))
            assert states == ["ECONNABORTED", "open", "ECONNABORTED", "open"]
            assert answers == ["127.0.0.2 5353", "127.0.0.1 5353"], "the other service keeps its backend"
            assert peer == ["127.0.0.1"]
        finally:
            client.kill()
            client.communicate()


UNDER_LOAD = """
import select
seen = {}
say("ready")
while not select.select([sys.stdin], [], [], 0.001)[0]:  # a pause, so that ports are not used up
    who = call(sys.argv[1], 443)
    seen[who] = seen.get(who, 0) + 1
say(seen)
"""


def test_no_call_fails_while_backends_change_and_none_goes_astray_when_one_is_removed(bpffs: Path) -> None:
    with stage(bpffs, SERVERS) as here:
        here.balance(SHOP)
        client = subprocess.Popen(
            here.command(UNDER_LOAD, VIP), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            assert client.stdin is not None and client.stdout is not None
            client.stdout.readline()
            policy = running.find(bpffs, "policy")
            one, three = Backend("127.0.0.1"), Backend("127.0.0.3")
            ended = 0
            for turn in range(10):
                backends.add(policy, "shop", three)
                backends.weight(policy, "shop", three, 2 + turn)
                backends.drain(policy, "shop", one, True)
                backends.drain(policy, "shop", one, False)
                ended += backends.remove(policy, "shop", three)
            client.stdin.close()
            (seen,) = json.loads(client.stdout.readline())
        finally:
            client.kill()
            client.wait()
        failed = sum(count for who, count in seen.items() if not who.endswith(" 8443"))
        assert failed <= ended, "a call fails only where its backend was removed while it talked"
        assert set(seen) - {"", "ECONNABORTED", "ECONNRESET"} <= {f"{name} 8443" for name in NAMES[:3]}, seen
        assert sum(seen.values()) > 10
