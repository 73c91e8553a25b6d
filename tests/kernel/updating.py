"""Two pods and what may pass between them, for tests that change policies meanwhile. The server answers every
datagram that it gets; the caller sends in turns, each ended by a datagram that every policy allows, and says
what was answered before that one. Nothing waits for a time: what is missing behind the last answer
was dropped.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lockgate.runtime import bundle, inventory, plan, swap
from tests import netns, pods

from .test_endpoints import known
from .test_who_reaches_whom import bundled

OLD_PORT, NEW_PORT, BOTH_PORT, LAST_PORT = 5000, 5001, 5002, 5100
OLD, NEW = (True, False), (False, True)  # which of OLD_PORT and NEW_PORT is answered
NEITHER = (False, False)

# The processes stay on one processor, so that packets keep their order.
SERVER = """
import os, select, socket, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
sockets = []
for port in sys.argv[1:]:
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    s.bind(("::", int(port)))
    s.setblocking(False)
    sockets.append(s)
print("ready", flush=True)
*others, last = sockets

def received(s):
    try:
        return s.recvfrom(64)
    except BlockingIOError:
        return None

while True:
    select.select(sockets, [], [])
    ending = received(last)  # what was sent before it has arrived before it, and is answered before it
    for s in others:
        while got := received(s):
            s.sendto(*got)
    if ending:
        last.sendto(*ending)
"""

CALLER = """
import json, mmap, os, socket, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
to, shared, last = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in to else socket.AF_INET
with open(shared, "r+b") as file:
    stage = mmap.mmap(file.fileno(), 2)

def opened():
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
    s.bind(("", 0))
    s.settimeout(30)
    return s

turns = 0

def turn(s, ports):  # which of the ports answer
    global turns
    turns += 1
    text = str(turns).encode()
    for port in (*ports, last):
        s.sendto(text, (to, port))
    answered = set()
    while True:
        got, who = s.recvfrom(64)
        if got == text:
            if who[1] == last:
                return [port in answered for port in ports]
            answered.add(who[1])

held, many = [opened()], []
print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    match asked["do"]:
        case "turn":
            with opened() as fresh:
                said = [turn(fresh, asked["ports"]), turn(held[0], asked["ports"])]
        case "open":
            many += [opened() for _ in range(asked["count"])]
            said = sum(all(turn(s, asked["allowed"])) for s in many)
        case "run":  # until the stage is 255: disputed ports, and all that is always allowed
            said = {"lost": 0, "sent": 0, "seen": []}
            while stage[0] != 255:
                for s in many:
                    before = stage[0]
                    with opened() as fresh:
                        disputed = [*turn(fresh, asked["ports"]), *turn(held[0], asked["ports"])]
                    one = [before, stage[0], disputed]
                    if not said["seen"] or said["seen"][-1] != one:
                        said["seen"].append(one)
                    answered = turn(s, asked["allowed"])
                    said["sent"] += len(answered)
                    said["lost"] += answered.count(False)
                    stage[1] = before
    print(json.dumps(said), flush=True)
"""


@dataclass
class Pair:
    """A caller `api` and a server `db` in pods of one host. `stage`: two bytes, of what goes on, and of what
    the caller has seen of that."""

    cluster: pods.Cluster
    caller: subprocess.Popen[str]
    server: subprocess.Popen[str]
    stage: Path

    def ask(self, do: str, **what: Any) -> Any:
        """Ask the caller to do something and wait for what it says."""
        self.tell(do, **what)
        return self.answer()

    def tell(self, do: str, **what: Any) -> None:
        """Ask without waiting."""
        assert self.caller.stdin is not None
        self.caller.stdin.write(json.dumps({"do": do, **what}) + "\n")
        self.caller.stdin.flush()

    def answer(self) -> Any:
        """What the caller says to what it was told."""
        assert self.caller.stdout is not None
        return json.loads(self.caller.stdout.readline())

    def judged(self) -> tuple[bool, bool]:
        """Whether OLD_PORT and NEW_PORT are answered; the same for a new flow and for one that is open."""
        fresh, held = self.ask("turn", ports=[OLD_PORT, NEW_PORT])
        assert fresh == held, "an open flow and a new one are judged alike"
        return fresh[0], fresh[1]

    def enter(self, number: int, seen: bool = False) -> None:
        """Say which stage this is; `seen`: and wait until the caller has been through all it does in it."""
        with self.stage.open("r+b") as file:
            file.write(bytes([number]))
        while seen and self.stage.read_bytes()[1] != number:
            assert self.caller.poll() is None
            time.sleep(0.01)

    def up(self, text: str, bpffs: Path) -> swap.Outcome:
        """Load a policy."""
        return swap.up(inventory.placed(plan.make(compiled(text)), known(self.cluster)), bpffs)


@cache
def compiled(text: str) -> bundle.Bundle:
    """A policy's bundle."""
    return bundled(text)


def tiered(first: str, then: str) -> str:
    """A policy for all pods of two tiers that disagree: the first one decides."""
    ports = {"old": OLD_PORT, "new": NEW_PORT}
    policies = [
        f"policy {which} for [] {{\n  tier {which}\n"
        + "".join(
            f"  {way} {{ allow udp to port {{ {port}, {BOTH_PORT}-{LAST_PORT} }}  drop udp }}\n"
            for way in ("ingress", "egress")
        )
        + "}\n"
        for which, port in ports.items()
    ]
    return f"tiers {first} > {then}\n" + "".join(policies)


# What the caller may depends on its label, where it sends and where that arrives.
BY_LABEL = f"""
policy db for [app=db] {{
  default drop
  ingress {{
    allow udp from [app=api] to port {OLD_PORT}
    allow udp from [app=web] to port {NEW_PORT}
    allow udp to port {BOTH_PORT}-{LAST_PORT}
  }}
}}
policy api for [app=api] {{
  default drop
  egress {{ allow udp to port {{ {OLD_PORT}, {BOTH_PORT}-{LAST_PORT} }} }}
}}
policy web for [app=web] {{
  default drop
  egress {{ allow udp to port {NEW_PORT}-{LAST_PORT} }}
}}
"""


@contextmanager
def between_pods(family: int, ports: int, tmp_path: Path) -> Iterator[Pair]:
    """The two pods with their processes; the server listens at so many ports from BOTH_PORT on, too."""
    stage = tmp_path / "stage"
    stage.write_bytes(bytes([0, 255]))
    with pods.cluster(2) as cluster:
        for pod, app in zip(cluster.pods, ("api", "db"), strict=True):
            pod.labels["app"] = app
        api, db = cluster.pods
        served = (OLD_PORT, NEW_PORT, *range(BOTH_PORT, BOTH_PORT + ports), LAST_PORT)
        server = netns.python(db.space, SERVER, *map(str, served))
        to = db.ip4 if family == 4 else db.ip6
        caller = netns.python(api.space, CALLER, to, str(stage), str(LAST_PORT))
        try:
            for process in (server, caller):
                assert process.stdout is not None and process.stdout.readline() == "ready\n"
            yield Pair(cluster, caller, server, stage)
        finally:
            for process in (server, caller):
                process.kill()
                process.communicate()
