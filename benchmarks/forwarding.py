"""What `forward fast` gains between two pods, end to end: TCP streams and requests over real sockets.

    python -m benchmarks.forwarding [--quick]

Each way has a host of its own with two pods, network namespaces joined to it by veth pairs, all there at once
and measured in turns: no policy, a policy that forwards through the host's stack, the same with `forward
fast`, and nftables that accepts what is established. `stream` is one connection that sends as much as it can,
`requests` one that sends a byte and waits for one; sender and receiver share the machine's CPUs with the
network, so ratios say more than figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lockgate.compiler.driver import Options, Session
from lockgate.runtime import bundle, inventory, plan, swap
from lockgate.stdlib_bpf import inventory_text

from . import harness, report

POLICY = """\
forward {}
policy db for [app=db] {{
  default drop
  ingress {{ allow tcp from [app=api] to port 80  allow icmp6 }}
  egress {{ allow }}
}}
"""
NFT = """table inet lg {
  chain forward {
    type filter hook forward priority 0
    ct state established,related accept
    ip saddr 10.77.0.2 tcp dport 80 accept
    meta l4proto ipv6-icmp accept
    drop
  }
}
"""
WAYS = ("no policy", "stack", "fast", "nftables")
SECONDS = 0.2
ROUNDS = 25
SERVER = """
import socket, threading
def serve(c):
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    kind = c.recv(1)
    while data := c.recv(1 << 20):
        if kind == b"r":
            c.sendall(data)
s = socket.create_server(("", 80))
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=s.accept()[:1], daemon=True).start()
"""
CLIENT = """
import json, socket, sys, time
def opened(kind):
    c = socket.create_connection(("10.77.1.2", 80))
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    c.sendall(kind)
    return c
stream, asks = opened(b"s"), opened(b"r")
block = bytes(1 << 18)
for _ in range(3):
    asks.sendall(b"x"); asks.recv(1)
print("ready", flush=True)
for line in sys.stdin:
    kind, seconds = json.loads(line)
    done, began = 0, time.perf_counter()
    while (past := time.perf_counter() - began) < seconds:
        if kind == "stream":
            stream.sendall(block); done += len(block)
        else:
            asks.sendall(b"x"); asks.recv(1); done += 1
    print(done / past, flush=True)
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--results", type=Path, help="folder for the results")
    given = parser.parse_args(arguments)
    if not harness.possible():
        print("forwarding: skipped, it needs root and BPF")
        return
    rounds = 7 if given.quick else ROUNDS
    found = measured(rounds, SECONDS)
    report.publish("forwarding", _text(found, rounds), {"rounds": found}, given.results)


def measured(rounds: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    """Bytes and requests a second: kind → way → rounds."""
    found: dict[str, dict[str, list[float]]] = {k: {w: [] for w in WAYS} for k in ("stream", "requests")}
    with ExitStack() as opened:
        clients = {way: opened.enter_context(_pods(number, way)) for number, way in enumerate(WAYS)}
        for kind, rows in found.items():
            for client in clients.values():
                _ask(client, kind, seconds / 4)
            for _ in range(rounds):
                for way, client in clients.items():
                    rows[way].append(_ask(client, kind, seconds))
    return found


def _ask(client: subprocess.Popen[str], kind: str, seconds: float) -> float:
    assert client.stdin is not None and client.stdout is not None
    client.stdin.write(json.dumps([kind, seconds]) + "\n")
    client.stdin.flush()
    return float(client.stdout.readline())


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _inside(space: str, *command: str) -> list[str]:
    return ["nsenter", f"--net=/run/netns/{space}", *command]


@contextmanager
def _pods(number: int, way: str) -> Iterator[subprocess.Popen[str]]:
    """A host with two pods under one way; the process that calls."""
    host, *spaces = (f"lg-bench-{number}{name}" for name in ("h", "a", "b"))
    with ExitStack() as opened:
        for space in (host, *spaces):
            _ip("netns", "add", space)
            opened.callback(subprocess.run, ["ip", "netns", "del", space], check=False)
        subprocess.run(_inside(host, "sysctl", "-qw", "net.ipv4.ip_forward=1"), check=True)
        for i, space in enumerate(spaces):
            ends = ("type", "veth", "peer", "eth0", "netns", space)
            _ip("-n", host, "link", "add", f"pod{i}", *ends)
            for where, name, last in ((host, f"pod{i}", 1), (space, "eth0", 2)):
                _ip("-n", where, "address", "add", f"10.77.{i}.{last}/24", "dev", name)
                _ip("-n", where, "link", "set", name, "up")
            _ip("-n", space, "route", "add", "default", "via", f"10.77.{i}.1")
        if way in ("stack", "fast"):
            opened.enter_context(_policy(host, way))
        elif way == "nftables":
            subprocess.run(_inside(host, "nft", "-f", "-"), input=NFT, text=True, check=True)
        opened.enter_context(_python(spaces[1], SERVER))
        yield opened.enter_context(_python(spaces[0], CLIENT))


@contextmanager
def _policy(host: str, way: str) -> Iterator[None]:
    """The policy runs, in a BPF file system of its own."""
    known = [
        {
            "name": app,
            "namespace": "bench",
            "labels": {"app": app},
            "addresses": [f"10.77.{i}.2"],
            "interface": f"{host}/pod{i}",
        }
        for i, app in enumerate(("api", "db"))
    ]
    with tempfile.TemporaryDirectory(prefix="lg-bench-") as folder, ExitStack() as opened:
        path, mount = Path(folder) / "pods.gate", Path(folder) / "bpf"
        path.write_text(POLICY.format(way))
        mount.mkdir()
        subprocess.run(["mount", "-t", "bpf", "bpf", str(mount)], check=True)
        opened.callback(subprocess.run, ["umount", str(mount)], check=False)
        with Session(path, Options()) as session:
            session.prepare()
            session.analyse()
            built = bundle.parse(session.bundle())
        who = inventory_text.read(json.dumps({"endpoints": known}))
        loaded = swap.up(inventory.placed(plan.make(built), who), mount)
        opened.callback(swap.down, loaded.state.manifest.name, mount)
        yield


@contextmanager
def _python(space: str, code: str) -> Iterator[subprocess.Popen[str]]:
    command = _inside(space, sys.executable, "-c", code)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise ValueError(f"nobody talks in {space}")
        yield process
    finally:
        process.kill()
        process.communicate()


def _text(found: dict[str, dict[str, list[float]]], rounds: int) -> str:
    stream, requests = found["stream"], found["requests"]

    def ratio(rows: dict[str, list[float]], way: str) -> float:
        return statistics.median(a / b for a, b in zip(rows[way], rows["no policy"], strict=True))

    cells = [
        (
            way,
            f"{statistics.median(stream[way]) / 1e9:.2f}",
            report.times(ratio(stream, way)),
            f"{statistics.median(requests[way]):,.0f}",
            report.times(ratio(requests, way)),
        )
        for way in WAYS
    ]
    heads = ("way", "stream, GB/s", "to no policy", "requests a second", "to no policy")
    return (
        "# Between two pods of a host\n\n"
        f"Medians of {rounds} rounds in turns, ratios within rounds. `stack`: the policy, packets forwarded "
        "by the host; `fast`: the same with `forward fast`; `nftables`: established connections accepted "
        "first, at the hook forward.\n\n" + report.table(heads, cells)
    )


if __name__ == "__main__":
    main()
