"""A host and its pods as network namespaces, with a process in each pod that serves TCP and UDP and that can
be asked to call others. Everything vanishes at the end of the `with` block.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests import netns

PORTS = (80, 81)
PATIENCE_S = 1.0  # after which nobody answers

AGENT = """
import json, select, socket, sys, threading

def served(kind, family, port):
    s = socket.socket(family, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind(("", port))
    if kind == socket.SOCK_STREAM:
        s.listen(512)
    return s

def echo(c):
    with c:
        try:
            while data := c.recv(4096):
                c.sendall(data)
        except OSError:
            pass

def accept(s):
    while True:
        c, _ = s.accept()
        threading.Thread(target=echo, args=(c,), daemon=True).start()

def answer(s):
    while True:
        data, who = s.recvfrom(65535)
        s.sendto(data, who)

for port in json.loads(sys.argv[1]):
    for family in (socket.AF_INET, socket.AF_INET6):
        for kind, loop in ((socket.SOCK_STREAM, accept), (socket.SOCK_DGRAM, answer)):
            threading.Thread(target=loop, args=(served(kind, family, port),), daemon=True).start()

held = {}

def talk(s, text=b"hello"):
    try:
        s.sendall(text)
        got = b""
        while len(got) < len(text):
            more = s.recv(65535)
            if not more:
                return "closed"
            got += more
        return "ok"
    except OSError as e:
        return type(e).__name__

def call(kind, to, port, patience, sport=0):
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    s.settimeout(patience)
    if sport:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("", sport))
    try:
        s.connect((to, port))
    except OSError as e:
        return s, type(e).__name__
    return s, talk(s)

print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    match asked["do"]:
        case "calls":
            out, threads = {}, []
            def one(i, c):
                s, said = call(c[0], c[1], c[2], asked["patience"])
                s.close()
                out[i] = said
            for i, c in enumerate(asked["calls"]):
                t = threading.Thread(target=one, args=(i, c)); t.start(); threads.append(t)
            for t in threads:
                t.join()
            said = [out[i] for i in range(len(out))]
        case "hold":
            s, said = call(asked["kind"], asked["to"], asked["port"], asked["patience"], asked["sport"])
            held[asked["id"]] = s
        case "say":
            held[asked["id"]].settimeout(asked["patience"])
            said = talk(held[asked["id"]], b"x" * asked["bytes"])
        case "hang up":
            held.pop(asked["id"]).close()
            said = "ok"
    print(json.dumps(said), flush=True)
"""


@dataclass
class Pod:
    """A pod: `device` is the host's side of its interface, `host` the host's namespace."""

    name: str
    space: str
    host: str
    device: str
    ip4: str
    ip6: str
    labels: dict[str, str] = field(default_factory=dict)
    namespace: str = "default"
    agent: subprocess.Popen[str] | None = None

    def ask(self, do: str, **what: Any) -> Any:
        """Ask the pod's process to do something."""
        assert self.agent is not None and self.agent.stdin is not None and self.agent.stdout is not None
        self.agent.stdin.write(json.dumps({"do": do, "patience": PATIENCE_S, **what}) + "\n")
        self.agent.stdin.flush()
        return json.loads(self.agent.stdout.readline())

    def calls(self, calls: Sequence[tuple[str, str, int]]) -> list[bool]:
        """Whether each call (protocol, address, port) is answered."""
        return [said == "ok" for said in self.ask("calls", calls=calls)]

    def reaches(self, kind: str, to: str, port: int) -> bool:
        """Whether one call is answered."""
        return self.calls([(kind, to, port)])[0]


@dataclass
class Cluster:
    """The host's namespace and its pods."""

    host: str
    pods: list[Pod]

    def inventory(self, host: bool = False) -> dict[str, Any]:
        """The inventory of it; `host`: with the host itself, which has no interface but its pods'."""
        found: list[dict[str, Any]] = [
            {
                "name": pod.name,
                "namespace": pod.namespace,
                "labels": pod.labels,
                "addresses": [pod.ip4, pod.ip6],
                "interface": f"{self.host}/{pod.device}",
            }
            for pod in self.pods
        ]
        return {"endpoints": found}


@contextmanager
def cluster(count: int, ports: Sequence[int] = PORTS) -> Iterator[Cluster]:
    """A host that routes between so many pods, which serve these ports."""
    host = netns.unique("lg-h")
    made = Cluster(host, [])
    try:
        netns.run("ip", "netns", "add", host)
        _set(host, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", *AT_ONCE)
        for i in range(count):
            made.pods.append(_pod(host, i))
        for pod in made.pods:
            pod.agent = netns.python(pod.space, AGENT, json.dumps(ports))
        for pod in made.pods:
            assert pod.agent is not None and pod.agent.stdout is not None
            assert pod.agent.stdout.readline() == "ready\n"
        yield made
    finally:
        for pod in made.pods:
            if pod.agent is not None:
                pod.agent.kill()
                pod.agent.communicate()
            netns.run("ip", "netns", "del", pod.space, check=False)
        netns.run("ip", "netns", "del", host, check=False)


AT_ONCE = ("net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0")  # addresses are good


def _set(space: str, *settings: str) -> None:
    netns.run(*netns.inside(space, "sysctl", "-qw", *settings))


def _pod(host: str, i: int) -> Pod:
    space, device = netns.unique("lg-p"), f"pod{i}"
    pod = Pod(f"p{i}", space, host, device, f"10.77.{i}.2", f"fd77:{i}::2")
    netns.run("ip", "netns", "add", space)
    _set(space, *AT_ONCE)
    netns.run("ip", "-n", host, "link", "add", device, "type", "veth", "peer", "eth0", "netns", space)
    netns.run("ip", "-n", space, "link", "set", "lo", "up")
    for where, name, last in ((host, device, 1), (space, "eth0", 2)):
        netns.run("ip", "-n", where, "address", "add", f"10.77.{i}.{last}/24", "dev", name)
        netns.run("ip", "-n", where, "address", "add", f"fd77:{i}::{last}/64", "dev", name, "nodad")
        netns.run("ip", "-n", where, "link", "set", name, "up")
    netns.run("ip", "-n", space, "route", "add", "default", "via", f"10.77.{i}.1")
    netns.run("ip", "-n", space, "-6", "route", "add", "default", "via", f"fd77:{i}::1")
    return pod
