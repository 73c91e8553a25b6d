"""What a packet of a known flow costs, beside one hash look-up and beside nftables with connection tracking.

    python -m benchmarks.flows [--quick]

The packets are UDP over IPv4 to one port, of 1 to 60,000 flows in random order, all of which both ends have
confirmed. `lockgate` is the program for what a pod receives, whole: decoder, flow table with its clock and
state, counters. `one look-up` is a program written by hand that reads the source port and looks it up in a
hash map of the same shape and size; `nftables` is one rule, `ct state established drop`, in prerouting. From
each its floor is subtracted: a tc program that answers at once, a chain of the stack that drops at once.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from lockgate.compiler.driver import Options, Session
from lockgate.cost import peers
from lockgate.runtime import bundle, coldrun, testrun
from lockgate.runtime.coldrun import Stamp, insn, map_insn
from lockgate.runtime.sys import attrs, bpf, netns
from lockgate.runtime.sys.fd import Fd
from lockgate.runtime.sys.link import loopback_up
from lockgate.runtime.wirerun import LOOPBACK_IFINDEX
from lockgate.stdlib_bpf.lpm_key import BPF_F_NO_PREALLOC
from lockgate.stdlib_bpf.state import flows
from lockgate.stdlib_bpf.state.endpoints import THIS_HOST, Endpoints, Record

from . import harness, report, stack
from .others import Scripts

TC, XDP = harness.TC, harness.XDP
POLICY = """\
policy pods for [app=db] {
  ingress { allow udp to port 53 }
}
"""
SUBJECT, PEER = 0x0A4D0002, 0x0A4D0102  # 10.77.0.2, 10.77.1.2
PORT, FIRST_PORT = 53, 4096
SIZES = (1, 1_000, 60_000)
SPORT = Stamp(2, ((0, 34, 2),))
DPORT = Stamp(2, ((0, 36, 2),))
BPF_MAP_LOOKUP_ELEM = 1
TABLE = "lg_flows"
OPEN = f"add table ip {TABLE}\nadd chain ip {TABLE} pre {{ type filter hook prerouting priority 0; }}\n"
TRACKED = OPEN + f"add rule ip {TABLE} pre ct state new accept\n"
CLOSED = f"flush chain ip {TABLE} pre\nadd rule ip {TABLE} pre ct state established drop\n"
EMPTY = OPEN + f"add rule ip {TABLE} pre drop\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--results", type=Path, help="folder for the results")
    given = parser.parse_args(arguments)
    if not harness.possible():
        print("flows: skipped, it needs root and BPF")
        return
    rounds = 11 if given.quick else 2 * harness.ROUNDS
    with netns.fresh():
        rows = [measured(size, rounds) for size in SIZES]
    report.publish("flows", _text(rows, rounds), {"rows": rows}, given.results)


def frame(src: int, dst: int, sport: int, dport: int) -> bytes:
    """A UDP packet without a checksum of its own."""
    base = harness.udp_frame(4)
    head = base[14:24] + bytes(2) + src.to_bytes(4) + dst.to_bytes(4)
    head = head[:10] + harness.checksum(head).to_bytes(2) + head[12:]
    return base[:14] + head + sport.to_bytes(2) + dport.to_bytes(2) + base[38:40] + bytes(2) + base[42:]


def measured(size: int, rounds: int) -> dict[str, Any]:
    """So many flows. ValueError when a program or the stack does not follow them."""
    ports = range(FIRST_PORT, FIRST_PORT + size)
    draw = random.Random(f"flows {size}")
    pool = [port.to_bytes(2) for port in draw.choices(ports, k=harness.POOL)]
    there = frame(PEER, SUBJECT, FIRST_PORT, PORT)
    runs: dict[str, harness.Run] = {}
    with ExitStack() as opened:
        pods = opened.enter_context(_pods(ports))
        targets = {
            "floor": opened.enter_context(harness.constant("pass", TC)),
            "one look-up": opened.enter_context(_look_up(opened, ports)),
            "lockgate": pods.program(0),
        }
        before = pods.counters_raw()
        for name, target in targets.items():
            program = opened.enter_context(harness.stamping(target, pool, SPORT, TC))
            runs[name] = harness.timed(program, there)
        runs["lockgate"](harness.CHECKED)
        _only_known_flows(pods, before)
        for name, run in _nftables(opened, size, pool, there).items():
            runs[name] = run
        found = coldrun.alternate(
            {name: harness.warmed(run) for name, run in runs.items()}, rounds, slice_ns=harness.SLICE_NS
        )
    net = {
        name: [a - b for a, b in zip(found[name], found[floor], strict=True)]
        for name, floor in (("one look-up", "floor"), ("lockgate", "floor"), ("nftables", "nftables, floor"))
    }
    return {
        "flows": size,
        **{f"{name}_ns": statistics.median(values) for name, values in net.items()},
        "to_look_up": statistics.median(
            a / b for a, b in zip(net["lockgate"], net["one look-up"], strict=True)
        ),
        "to_nftables": statistics.median(
            a / b for a, b in zip(net["lockgate"], net["nftables"], strict=True)
        ),
        "rounds": found,
    }


@contextmanager
def _pods(ports: range) -> Iterator[testrun.LoadedChain]:
    """The policy, loaded, with the flows confirmed: each opened, answered, and heard of again."""
    with tempfile.TemporaryDirectory(prefix="lg-bench-") as folder:
        path = Path(folder) / "pods.gate"
        path.write_text(POLICY)
        with Session(path, Options()) as session:
            session.prepare()
            session.analyse()
            built = bundle.parse(session.bundle())
    (chain,) = built.manifest.chains
    with testrun.load_chain(built, chain.name) as loaded:
        db = Record(1, ifindex=LOOPBACK_IFINDEX, selected=frozenset({0}))
        loaded.know(Endpoints({(4, SUBJECT): db}, {LOOPBACK_IFINDEX: db, THIS_HOST: Record(2, "host")}, 0))
        receives, sends = (
            next(i for i, f in enumerate(chain.functions) if f.point == f"workload_{way}")
            for way in ("ingress", "egress")
        )
        for port in ports:
            there, back = frame(PEER, SUBJECT, port, PORT), frame(SUBJECT, PEER, PORT, port)
            for function, packet in ((receives, there), (sends, back), (receives, there)):
                bpf.test_run(loaded.program(function), packet)
        confirmed = sum(flow.state & flows.CONFIRMED > 0 for flow in loaded.flows().values())
        if confirmed != len(ports):
            raise ValueError(f"{confirmed} flows of {len(ports)} are confirmed")
        yield loaded


def _only_known_flows(pods: testrun.LoadedChain, before: bytes) -> None:
    """ValueError unless all packets since `before` followed a flow."""
    slots, old, new = pods.chain.slots, *map(pods._counters.totals, (before, pods.counters_raw()))
    grown = {slots[i].label for i in range(len(slots)) if new[i] != old[i]}
    if grown != {"known flow"}:
        raise ValueError(f"packets of known flows were decided by {grown}")


def _look_up(opened: ExitStack, ports: range) -> Fd:
    """A program that looks a source port up."""
    map_ = opened.enter_context(
        bpf.map_create(
            attrs.MAP_TYPE_HASH, flows.KEY.size, flows.FLOW.size, flows.MAX_FLOWS, BPF_F_NO_PREALLOC
        )
    )
    for port in ports:
        bpf.map_update(map_, _key(port), bytes(flows.FLOW.size))
    at = flows.KEY.offset("peer_port") - flows.KEY.size  # from the frame pointer on
    code = [
        insn(0x61, 2, 1, 76),  # r2 = data
        insn(0x61, 3, 1, 80),  # r3 = data_end
        insn(0xBF, 4, 2),
        insn(0x07, 4, 0, 0, 42),
        insn(0x2D, 4, 3, 18),  # too short: the end
        insn(0x69, 5, 2, 34),  # r5 = source port, as it lies there
        insn(0xB7, 0),
        *(insn(0x7B, 10, 0, -8 * n) for n in range(1, flows.KEY.size // 8 + 1)),
        insn(0x6B, 10, 5, at),
        map_insn(1, map_, False),
        insn(0xBF, 2, 10),
        insn(0x07, 2, 0, 0, -flows.KEY.size),
        insn(0x85, 0, 0, 0, BPF_MAP_LOOKUP_ELEM),
        insn(0xB7, 0, 0, 0, TC.verdicts["allow"]),
        insn(0x95),
    ]
    end = sum(len(one) // 8 for one in code) - 2
    here = sum(len(one) // 8 for one in code[:5])
    code[4] = insn(0x2D, 4, 3, end - here)
    return coldrun.program(b"".join(code), TC)


def _key(port: int) -> bytes:
    return flows.KEY.pack(peer_port=int.from_bytes(port.to_bytes(2), "little"))


def _nftables(opened: ExitStack, size: int, pool: Sequence[bytes], there: bytes) -> dict[str, harness.Run]:
    """The stack with connection tracking that knows the flows, and one that drops at once; nothing where nft
    is missing. ValueError when it does not know them."""
    ruled, empty = (opened.enter_context(netns.Nameless()) for _ in range(2))
    up = opened.enter_context(harness.constant("pass"))
    front = harness.timed(opened.enter_context(harness.stamping(up, pool, SPORT)), there, live=True)
    with empty.inside():
        loopback_up()
        stack.load(_nft(EMPTY))
    with ruled.inside():
        loopback_up()
        for setting, value in (("accept_local", 1), ("rp_filter", 0)):
            Path(f"/proc/sys/net/ipv4/conf/all/{setting}").write_text(str(value))
        for address in ("10.77.0.2", "10.77.1.2"):
            subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
        stack.load(_nft(TRACKED))
        once = [port.to_bytes(2) for port in range(FIRST_PORT, FIRST_PORT + size)]
        once += once[:1] * (harness.POOL - size)
        back = frame(SUBJECT, PEER, PORT, FIRST_PORT)
        for stamp, packet in ((SPORT, there), (DPORT, back)):
            with harness.stamping(up, once, stamp) as program:
                harness.timed(program, packet, live=True)(size)
        stack.load(_nft(CLOSED))
        past = stack.past(4)
    run = peers.within(ruled, front)
    run(stack.CHECKED)
    with ruled.inside():
        if stack.past(4) != past:
            raise ValueError("nftables let packets past the rule")
    return {"nftables": run, "nftables, floor": peers.within(empty, front)}


def _nft(text: str) -> Scripts:
    return ((("nft", "-f", "-"), text),)


def _text(rows: list[dict[str, Any]], rounds: int) -> str:
    heads = ("flows", "lockgate, ns", "one look-up, ns", "nftables, ns", "to the look-up", "to nftables")
    cells = [
        (
            f"{row['flows']:,}",
            *(report.ns(row[f"{name}_ns"]) for name in ("lockgate", "one look-up", "nftables")),
            report.times(row["to_look_up"]),
            report.times(row["to_nftables"]),
        )
        for row in rows
    ]
    return (
        "# What a packet of a known flow costs\n\n"
        "ns a packet on one CPU over each one's floor; medians of "
        f"{rounds} rounds in turns. `lockgate`: the whole program of a pod, from the frame to the counters; "
        "`one look-up`: reading a port and finding it in a hash map of the same shape; `nftables`: the stack "
        "with connection tracking and `ct state established`, over the stack without either.\n\n"
        + report.table(heads, cells)
    )


if __name__ == "__main__":
    main()
