"""The demo where nothing can be loaded: the generated code, compiled for this machine, judges the examples'
packets and the recorded capture."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence

from lockgate.compiler import captures, packet
from lockgate.compiler.codegen.simulate import Packet
from lockgate.compiler.policy.model import Chain, Prefixes
from lockgate.compiler.policy.prefixes import parse_lines
from lockgate.engines import ENGINES
from lockgate.judge import describe
from lockgate.runtime import show

from .policies import EXAMPLES, Compiled, Policy
from .report import Report

SHOWN = 6  # packets printed of each rule list; all are judged
TIMED = 20_000


def run(report: Report, compiled: Compiled) -> None:
    """All of the simulation."""
    for policy in compiled.policies.values():
        for chain in policy.session.unit.chains:
            _packets(report, policy, chain)
    capture(report, compiled.policies["edge"], "native")
    report.section("not shown by a simulation")
    report.note(
        "loading and attaching, real sockets, replacement under traffic, time a packet takes in the kernel;"
    )
    report.note("as root: sudo lockgate demo")


def rows(example: str, direction: str) -> tuple[list[tuple[str, str]], dict[str, Prefixes]]:
    """Packets of an example's `packets.txt` with the answers they must get, and contents of dynamic sets."""
    found = []
    given: dict[str, Prefixes] = {}
    for line in (EXAMPLES / example / "packets.txt").read_text().splitlines():
        asked, tab, expected = line.partition("\t")
        words = asked.split()
        if words[:1] == ["given"]:
            given[words[1]] = parse_lines("\n".join(words[2:])).prefixes
        elif tab and (words[0] if words[0] in ("ingress", "egress") else "") == direction:
            found.append((asked.removeprefix(direction).strip(), expected))
    return found, given


def _packets(report: Report, policy: Policy, chain: Chain) -> None:
    report.section(f"{chain.name} at {chain.hook}, simulated: verdicts")
    asked, given = rows(policy.name, chain.direction)
    packets: list[Packet] = [packet.parse(text) for text, _ in asked]
    answers = judge(policy, chain, packets, given)
    held = [answer == expected for answer, (_, expected) in zip(answers, asked, strict=True)]
    for i, (text, expected) in enumerate(asked):
        if i < SHOWN or not held[i]:
            report.expect(text if len(text) < 60 else f"{text[:56]} …", answers[i], expected)
    rest = held[SHOWN:]
    if rest:
        report.check(f"{len(rest)} more packets of packets.txt", all(rest), f"{sum(rest)} as written there")
    show.table(("packets", "verdict and rule"), [(n, what) for what, n in Counter(answers).most_common()])
    _time(report, policy, chain, packets, given)


def judge(
    policy: Policy,
    chain: Chain,
    packets: Sequence[Packet],
    live: dict[str, Prefixes],
    engine: str = "native",
) -> list[str]:
    """`VERDICT by RULE` for each packet."""
    decisions = ENGINES[engine](policy.session, chain, packets, live)
    return [f"{d['verdict']} by {d['rule']}" for d in (describe(chain, x) for x in decisions)]


def _time(
    report: Report, policy: Policy, chain: Chain, packets: Sequence[Packet], given: dict[str, Prefixes]
) -> None:
    many = (list(packets) * (TIMED // len(packets) + 1))[:TIMED]
    started = time.perf_counter()
    judge(policy, chain, many, given)
    microseconds = (time.perf_counter() - started) / len(many) * 1e6
    report.note(f"{microseconds:.0f} µs a packet, nearly all of it Python around the generated code")


def capture(report: Report, policy: Policy, engine: str) -> None:
    """The recorded capture, judged."""
    report.section(f"edge judges a capture: examples/edge/sample.pcap ({engine})")
    frames = list(captures.read(EXAMPLES / "edge" / "sample.pcap"))
    expected = json.loads((EXAMPLES / "edge" / "sample.json").read_text())
    (chain,) = policy.session.unit.chains
    totals = Counter(judge(policy, chain, frames, {}, engine))
    shown = ", ".join(f"{n} {what}" for what, n in totals.most_common())
    report.check(f"{len(frames)} frames of real traffic", dict(totals) == expected, shown)
