"""Calls for services: what connect() and sendto() cost where they are balanced, beside direct calls,
iptables, nft.

    python -m benchmarks.balance [--quick]

Each way has a process of its own in a network namespace of its own, with a listening socket: `direct` calls
the backend, in no cgroup that has programs; `lockgate` calls a random one of N services in a cgroup with a
balancer, and `other` in that cgroup the backend by its own address; `iptables` calls a random one of N
services that chains like kube-proxy's translate, `nft` of a map. Timed is the one system call, in turns of
short batches; a ratio is that of one turn, and its median is shown. A datagram is one of a socket that has
sent to the service before.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import socket
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from lockgate.compiler.driver import Session
from lockgate.runtime import bundle, cgroups, plan, swap
from lockgate.runtime.sys import netns
from lockgate.runtime.sys.link import loopback_up

from . import harness, report

SERVICES, QUICK_SERVICES = (1, 100, 10_000), (1, 100)
ROUNDS, QUICK_ROUNDS = 101, 21
BATCH = 50
BACKEND = ("127.0.0.1", 8443)
PORTS = "port tcp 443 -> 8443  port udp 443 -> 8443"
KINDS = ("tcp connect", "udp connect", "udp send")
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: no port waits for a connection that is over
Ask = Callable[[str], float]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer services and rounds")
    parser.add_argument("--results", type=Path, help="folder for the results")
    given = parser.parse_args(arguments)
    if not harness.possible():
        print("balance: skipped, it needs root and BPF")
        return
    rounds = QUICK_ROUNDS if given.quick else ROUNDS
    rows = [measured(count, rounds) for count in (QUICK_SERVICES if given.quick else SERVICES)]
    report.publish("balance", _text(rows, rounds), {"rows": rows}, given.results)


def measured(count: int, rounds: int) -> dict[str, Any]:
    """One row: so many services. ns of every kind of call, by way, a figure a round."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lg-bench-")))
        ways: dict[str, Ask] = {"direct": stack.enter_context(_client([BACKEND]))}
        directory, took = stack.enter_context(_balanced(folder, count))
        ways["lockgate"] = stack.enter_context(_client(_vips(count), directory))
        ways["other"] = stack.enter_context(_client([BACKEND], directory))
        for name, rules in (("iptables", _iptables(count)), ("nft", _nft(count))):
            if shutil.which(name):
                command = ["iptables-restore"] if name == "iptables" else ["nft", "-f", "-"]
                ways[name] = stack.enter_context(_client(_vips(count), None, (command, rules)))
        figures: dict[str, dict[str, list[float]]] = {k: {w: [] for w in ways} for k in KINDS}
        for number in range(-2, rounds):  # two to warm up
            for kind in KINDS:
                for way, ask in ways.items():
                    ns = ask(kind)
                    if number >= 0:
                        figures[kind][way].append(ns)
    return {"services": count, "load_s": took, "ns": figures}


def _vips(count: int) -> list[tuple[str, int]]:
    return [(f"10.96.{n >> 8}.{n & 255}", 443) for n in range(count)]


# ---- a client ----


@contextmanager
def _client(
    targets: Sequence[tuple[str, int]], cgroup: Path | None = None, rules: tuple[list[str], str] | None = None
) -> Iterator[Ask]:
    """A process that calls `targets` from a namespace of its own. `rules`: a command that loads them there,
    and its standard input."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            ours.close()
            _serve(theirs, targets, cgroup, rules)
        os._exit(0)
    theirs.close()
    channel = ours.makefile("rw")
    try:
        said = channel.readline()
        if said != "ready\n":
            raise ValueError(f"a client did not start: {said}")

        def ask(kind: str) -> float:
            channel.write(f"{kind}\n")
            channel.flush()
            return float(json.loads(channel.readline()))

        yield ask
    finally:
        channel.close()
        ours.close()
        os.waitpid(pid, 0)


def _serve(
    end: socket.socket,
    targets: Sequence[tuple[str, int]],
    cgroup: Path | None,
    rules: tuple[list[str], str] | None,
) -> None:
    if cgroup is not None:
        (cgroup / "cgroup.procs").write_text("0")
    netns.unshare_network()
    loopback_up()
    if rules is not None:
        subprocess.run(["ip", "route", "add", "10.96.0.0/16", "dev", "lo"], check=True)
        subprocess.run(rules[0], input=rules[1], text=True, check=True)
    channel = end.makefile("rw")
    server = socket.create_server(BACKEND, backlog=BATCH)
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.bind(BACKEND)
    sink.settimeout(5)
    draw = random.Random(7)
    sender, service = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), draw.choice(targets)
    channel.write("ready\n")
    channel.flush()
    while kind := channel.readline().strip():
        if kind == "udp send":
            ns = _sent(sender, service, sink)
        else:
            ns = _connected(kind == "tcp connect", [draw.choice(targets) for _ in range(BATCH)], server)
        channel.write(f"{ns}\n")
        channel.flush()


def _connected(tcp: bool, targets: Sequence[tuple[str, int]], server: socket.socket) -> float:
    """Mean ns of a connect()."""
    kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    sockets = [socket.socket(socket.AF_INET, kind) for _ in targets]
    spent = 0
    for s, target in zip(sockets, targets, strict=True):
        began = time.perf_counter_ns()
        s.connect(target)
        spent += time.perf_counter_ns() - began
    for s in sockets:
        if tcp:
            other, _ = server.accept()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            s.close()
            other.close()
        s.close()
    return spent / len(targets)


def _sent(sender: socket.socket, target: tuple[str, int], sink: socket.socket) -> float:
    """Mean ns of a sendto()."""
    spent = 0
    for _ in range(BATCH):
        began = time.perf_counter_ns()
        sender.sendto(b"x", target)
        spent += time.perf_counter_ns() - began
    for _ in range(BATCH):
        sink.recv(1)
    return spent / BATCH


# ---- what stands between ----


@contextmanager
def _balanced(folder: Path, count: int) -> Iterator[tuple[Path, float]]:
    """A cgroup with a balancer of so many services, and how long `up` took (s)."""
    name = f"lg-bench-{os.getpid()}"
    directory, bpffs = cgroups.mount() / name, folder / "bpffs"
    directory.mkdir()
    bpffs.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", str(bpffs)], check=True)
    try:
        path = folder / "services.gate"
        path.write_text(
            "".join(
                f'balance s{n} for cgroup "/{name}" {{ vip {vip}  {PORTS}  backends {{ 127.0.0.1 }} }}\n'
                for n, (vip, _) in enumerate(_vips(count))
            )
        )
        with Session(path) as session:
            loaded = plan.make(bundle.parse(session.bundle()))
        began = time.perf_counter()
        swap.up(loaded, bpffs)
        yield directory, time.perf_counter() - began
        swap.down("services", bpffs)
    finally:
        subprocess.run(["umount", str(bpffs)], check=True)
        for _ in range(100):
            with contextlib.suppress(OSError):
                directory.rmdir()
                break
            time.sleep(0.02)


def _iptables(count: int) -> str:
    """Chains as kube-proxy makes them: one list of all services, and a chain for each."""
    to = f"{BACKEND[0]}:{BACKEND[1]}"
    services = list(enumerate(_vips(count)))
    lines = [
        "*nat",
        ":SERVICES - [0:0]",
        *(f":SVC-{n} - [0:0]" for n, _ in services),
        "-A OUTPUT -j SERVICES",
    ]
    for n, (vip, port) in services:
        lines += [f"-A SERVICES -d {vip}/32 -p {p} --dport {port} -j SVC-{n}" for p in ("tcp", "udp")]
        lines += [f"-A SVC-{n} -p {p} -j DNAT --to-destination {to}" for p in ("tcp", "udp")]
    return "\n".join([*lines, "COMMIT", ""])


def _nft(count: int) -> str:
    """One map of all services."""
    address, target = BACKEND
    entries = ", ".join(
        f"{vip} . {p} . {port} : {address} . {target}" for vip, port in _vips(count) for p in ("tcp", "udp")
    )
    return (
        "table ip nat {\nmap services {\n"
        "type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service\n"
        f"elements = {{ {entries} }}\n}}\n"
        "chain out {\ntype nat hook output priority -100; "
        "dnat ip to ip daddr . meta l4proto . th dport map @services\n}\n}\n"
    )


# ---- the page ----


def _text(rows: Sequence[dict[str, Any]], rounds: int) -> str:
    out = [
        "# Calls for services\n\nOne system call, ns: medians of "
        f"{rounds} turns of {BATCH} calls; in brackets the median of the ratios to the direct call of the "
        "same turn, and the middle half of them. `other` is a call for no service in a cgroup with a "
        "balancer. A UDP connect sends nothing: those who translate packets pay later, for each datagram.\n"
    ]
    for kind in KINDS:
        out.append(f"\n## {kind}\n\n")
        ways = list(rows[0]["ns"][kind])
        lines = [[f"{r['services']:,}", *(_cell(r["ns"][kind], w) for w in ways)] for r in rows]
        out.append(report.table(["services", *ways], lines))
    out.append("\n## `lockgate up` of a bundle\n\n")
    out.append(report.table(["services", "s"], [[f"{r['services']:,}", f"{r['load_s']:.2f}"] for r in rows]))
    return "".join(out)


def _cell(figures: dict[str, list[float]], way: str) -> str:
    ns = report.ns(statistics.median(figures[way]))
    if way == "direct":
        return ns
    ratios = [mine / base for mine, base in zip(figures[way], figures["direct"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{ns} ({report.times(middle)}, {low:.2f}–{high:.2f})"


if __name__ == "__main__":
    main()
