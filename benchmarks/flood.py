"""A flood over a virtual wire: what a whole policy of an edge costs a packet, from sending it to dropping it.

    python -m benchmarks.flood [--quick]

Each receiver is the far end of a veth pair (`wire`) in a namespace of its own; what is measured is a packet's
whole way. The policy drops what a list of 1,000,000 prefixes has, or one of 1,000 rules over addresses,
protocol and ports, and DNS questions beyond a rate for each source, and counts. Beside it: a program by hand
that reads the headers and drops, one that drops at once, chains that drop at once, and the same policy in the
words of nftables and of iptables with ipset (without counters in nftables, which flatters it). The flood is
of listed sources (two fifths), of packets in rules (two fifths), and of DNS questions. It is checked that all
arrive, and that none gets past.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from lockgate.runtime import coldrun
from lockgate.runtime.sys.fd import Fd
from lockgate.stdlib_bpf.classifiers import Box

from . import handwritten, harness, others, policies, report, rule_sets, tuples, wire

PREFIXES, RULES = 1_000_000, 1_000
QUICK_PREFIXES = 100_000
ROUNDS, QUICK_ROUNDS = 21, 7
LISTED, ASKING = 0.4, 0.2  # shares of the flood
SOURCES = (0xC6120000, 1 << 14)  # of DNS questions (RFC 2544): fewer than there are buckets
FAMILY = "acl"
EDGE, PARSES = "lockgate, the policy", "by hand: reads headers, drops"

POLICY = """network listed = file "listed.txt"
policy edge at xdp on "lo" {{
  fragments first-only
  default pass
  drop from listed count blocked
{rules}  pass udp to port 53 limit 1/h burst 1 per source count asked
  drop udp to port 53 count flooded
}}
"""
NFT_LIMIT = """add set ip t asked { type ipv4_addr; size 65536; flags dynamic; }
add rule ip t c udp dport 53 update @asked { ip saddr limit rate 1/hour burst 1 packets } accept
add rule ip t c udp dport 53 drop
"""
IPT_LIMIT = """*raw
-A PREROUTING -p udp -m udp --dport 53 -m hashlimit --hashlimit-upto 1/hour --hashlimit-burst 1 \
--hashlimit-mode srcip --hashlimit-name asked --hashlimit-htable-max 65536 -j ACCEPT
-A PREROUTING -p udp -m udp --dport 53 -j DROP
COMMIT
"""
FILTERS = {  # filters that hold the list and the rules, and the limit in their words
    "nft: a set, rules": ("nft set", "nft rules", (others.NFT, NFT_LIMIT)),
    "nft: a set, maps": ("nft set", "nft maps", (others.NFT, NFT_LIMIT)),
    "ipset, iptables": ("ipset", "iptables", (others.restore(4), IPT_LIMIT)),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer prefixes and rounds")
    parser.add_argument("--results", type=Path, help="folder for the results")
    given = parser.parse_args(arguments)
    if not harness.possible():
        print("flood: skipped, it needs root and BPF")
        return
    prefixes, rounds = (QUICK_PREFIXES, QUICK_ROUNDS) if given.quick else (PREFIXES, ROUNDS)
    with tempfile.TemporaryDirectory(prefix="lg-bench-") as folder:
        rows = measured(Path(folder), prefixes, RULES, rounds)
    report.publish("flood", _text(rows, prefixes), {"prefixes": prefixes, "rows": rows}, given.results)


def measured(folder: Path, prefixes: int, rules: int, rounds: int) -> list[dict[str, Any]]:
    """A row for each receiver. ValueError for one that does not get all packets, or lets some on."""
    entries = policies.prefixes(prefixes)
    boxes = [replace(box, code=1) for box in rule_sets.boxes(FAMILY, rules)]
    stamps = [tuples.stamped(packet) for packet in _flood(entries, boxes)]
    with ExitStack() as opened:
        wires: dict[str, wire.Wire] = {}

        def add(name: str, program: Fd | None, scripts: others.Scripts) -> None:
            far = wire.flooded(tuples.frame(), tuples.STAMP, stamps, program, scripts)
            wires[name] = opened.enter_context(far)
            wires[name].verify(name, len(stamps))

        for name, program in _programs(folder, entries, boxes, opened):
            add(name, program, ())
        for name, scripts in _scripts(entries, boxes):
            add(name, None, scripts)
        runs = {name: harness.warmed(far.run) for name, far in wires.items()}
        found = coldrun.alternate(runs, rounds, slice_ns=harness.SLICE_NS)
    return [
        {
            "receiver": name,
            "ns": statistics.median(took),
            "best_ns": min(took),
            "to_parse_only": statistics.median(a / b for a, b in zip(took, found[PARSES], strict=True)),
            "to_edge": statistics.median(a / b for a, b in zip(took, found[EDGE], strict=True)),
            "rounds": took,
        }
        for name, took in found.items()
    ]


def _flood(entries: Sequence[tuple[int, int]], boxes: Sequence[Box]) -> Iterator[tuples.Packet]:
    """harness.POOL packets; all of them the policy drops."""
    draw = random.Random("flood")
    ruled = tuples.inside(boxes).stamps
    for stamp in ruled:
        packet, kind = tuples.packet_of(stamp), draw.random()
        if kind < LISTED:
            value, length = draw.choice(entries)
            packet = (value | draw.getrandbits(32 - length), *packet[1:])
        elif kind < LISTED + ASKING:
            packet = (SOURCES[0] + draw.randrange(SOURCES[1]), packet[1], rule_sets.UDP, packet[3], 53)
        yield packet


def _programs(
    folder: Path, entries: Sequence[tuple[int, int]], boxes: Sequence[Box], opened: ExitStack
) -> Iterator[tuple[str, Fd]]:
    yield "drops at once", opened.enter_context(harness.constant("drop"))
    yield PARSES, opened.enter_context(handwritten.rules((), default="drop"))
    (folder / "listed.txt").write_text(policies.text_of(list(entries)))
    path = folder / "edge.gate"
    path.write_text(POLICY.format(rules="".join(f"  {rule_sets.sentence(box)}\n" for box in boxes)))
    (program,) = opened.enter_context(harness.loaded(path)).programs.values()
    yield EDGE, program


def _scripts(
    entries: Sequence[tuple[int, int]], boxes: Sequence[Box]
) -> Iterator[tuple[str, others.Scripts]]:
    """What is said to filters of the stack, those that are installed."""
    by_name = {one.name: one for one in others.ALL if not one.missing()}
    for one in by_name.values():
        if one.rules is not None:
            yield f"{one.name.split()[0]}: drops at once", one.closes(4)
    for name, (holding, finding, last) in FILTERS.items():
        if holding in by_name and finding in by_name:
            said_set, said_rules = by_name[holding].set, by_name[finding].rules
            if said_set is not None and said_rules is not None:
                yield name, (*said_set(entries, 4), *said_rules(boxes), last)


def _text(rows: list[dict[str, Any]], prefixes: int) -> str:
    body = [
        (
            r["receiver"],
            report.ns(r["ns"]),
            report.ns(r["best_ns"]),
            f"{1000 / r['ns']:.2f}",
            report.times(r["to_parse_only"]),
            report.times(r["to_edge"]),
        )
        for r in rows
    ]
    heads = ("receiver", "ns", "least", "million packets a second", "to reading headers", "to the policy")
    return (
        "# A flood over a virtual wire\n\n"
        f"The policy of an edge: a list of {prefixes:,} prefixes, {RULES:,} rules, a rate limit for each "
        "source, counters. What a packet costs from sending it into a veth pair to dropping it at the other "
        "end, on one CPU; medians of rounds in turns. All packets arrive, and none gets past.\n\n"
        + report.table(heads, body)
    )


if __name__ == "__main__":
    main()
