"""What parts of a rule cost a packet: counters, events, limits, conditions and effects.

    python -m benchmarks.rule_cost [--quick]

Each row is one policy with the part and one without it, otherwise alike: a single rule that passes every
packet. Both are measured in turns with a program that answers at once, whose figure is subtracted from both:
what remains is the policy's own work, decoding and its rule's counter included. Packets are UDP over IPv4,
each from the next of 32,768 sources unless the row says otherwise.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockgate.runtime import loader
from lockgate.runtime.sys import netns
from lockgate.runtime.sys.fd import Fd
from lockgate.runtime.sys.ring import Ring
from lockgate.stdlib_bpf.hooks.base import Hook
from lockgate.stdlib_bpf.state.events import RING_BYTES

from . import harness, report

TC, XDP = harness.TC, harness.XDP
CONDITIONS = ("ip.ttl > 1", "ip.length > 28", "not ip.dscp == ef", "ip4.options == 0")
MANY = 1 << 15  # sources: fewer than there are buckets (`limits.KEYS`)
NEVER_EXHAUSTED = "limit 100M/s burst 1000000"


@dataclass(frozen=True)
class Part:
    """One row: text behind the rule, an attribute of the policy, or a rule before it; `sources`: how many
    different ones packets come from."""

    name: str
    hook: Hook = XDP
    option: str = ""
    attribute: str = ""
    rule: str = ""
    sources: int = MANY

    def policy(self, present: bool) -> str:
        """The policy with or without the part."""
        option, attribute, rule = (self.option, self.attribute, self.rule) if present else ("", "", "")
        rules = f"{rule} pass udp to port 53 {option}"
        if self.hook is XDP and not attribute:
            attribute = "fragments first-only"
        if self.hook is TC:
            rules = f"ingress {{ {rules} }}"
        return f'policy p at {self.hook.name} on "lo" {{ default drop {attribute} {rules} }}\n'


PARTS = (
    Part("`count`", option="count seen"),
    Part("`log sample 1000`", option="log sample 1000"),
    Part("`limit`, one bucket", option=NEVER_EXHAUSTED),
    Part("`limit … per source`, one source", option=f"{NEVER_EXHAUSTED} per source", sources=1),
    Part(f"`limit … per source`, {MANY:,} sources", option=f"{NEVER_EXHAUSTED} per source"),
    Part("`limit … per flow`, one flow", option=f"{NEVER_EXHAUSTED} per flow", sources=1),
    Part(f"`limit … per flow`, {MANY:,} flows", option=f"{NEVER_EXHAUSTED} per flow"),
    Part("`if`, one condition", option=f"if {CONDITIONS[0]}"),
    Part("`if`, four conditions", option=f"if {' and '.join(CONDITIONS)}"),
    Part("`fragments track`, no fragment", attribute="fragments track"),
    Part("`dscp`", option="dscp ef"),
    Part("`dscp`", TC, option="dscp ef"),
    Part("`mark`", TC, option="mark 7/0xff"),
    Part("`mirror`, the copy alone", TC, rule='mirror udp into "lo"'),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--results", type=Path, help="folder for the results")
    given = parser.parse_args(arguments)
    if not harness.possible():
        print("rule_cost: skipped, it needs root and BPF")
        return
    rounds = 11 if given.quick else 2 * harness.ROUNDS
    # In a namespace of its own `lo` is down: a copy that is sent there goes nowhere.
    with netns.fresh(), tempfile.TemporaryDirectory(prefix="lg-bench-") as folder:
        rows = [measured(part, Path(folder) / "policy.gate", rounds) for part in PARTS]
    report.publish("rule_cost", _text(rows, rounds), {"rows": rows}, given.results)


def measured(part: Part, path: Path, rounds: int) -> dict[str, Any]:
    """One row. `path`: where its policies may be written. ValueError when a policy does not pass a packet."""
    addresses = [0x0A000000 + n % part.sources for n in range(harness.POOL)]
    frame = harness.udp_frame(4)
    with ExitStack() as stack:
        floor = stack.enter_context(harness.constant("pass", part.hook))
        targets: dict[str, Fd] = {"floor": floor}
        drains: list[Callable[[], list[bytes]]] = []
        for name in ("without", "with"):
            path.write_text(part.policy(name == "with"))
            loaded = stack.enter_context(harness.loaded(path))
            (targets[name],) = loaded.programs.values()
            drains += stack.enter_context(rings(loaded))
        ready = {
            name: stack.enter_context(harness.generating(target, addresses, 4, part.hook))
            for name, target in targets.items()
        }
        for name, program in ready.items():
            harness.verify(f"{part.name}, {name}", program, frame, ["pass"] * harness.CHECKED, part.hook)
        found = harness.alternate(ready, frame, rounds, lambda: [drain() for drain in drains])
    net = [(b - f, w - f) for f, b, w in zip(found["floor"], found["without"], found["with"], strict=True)]
    return {
        "part": part.name,
        "hook": part.hook.name,
        "policy": part.policy(True).strip(),
        "ratio": statistics.median(w / max(1, b) for b, w in net),
        "more_ns": statistics.median(w - b for b, w in net),
        "without_ns": statistics.median(b for b, _ in net),
        "with_ns": statistics.median(w for _, w in net),
        "quartiles_more_ns": statistics.quantiles((w - b for b, w in net), n=4)[::2],
        "rounds": found,
    }


@contextmanager
def rings(loaded: loader.Loaded) -> Iterator[list[Callable[[], list[bytes]]]]:
    """What empties the rings of a policy, so that no event finds its ring full."""
    rings = [Ring(fd, RING_BYTES) for key, fd in loaded.maps.items() if key.endswith("events")]
    try:
        yield [lambda ring=ring: list(ring.records()) for ring in rings]  # type: ignore[misc]
    finally:
        for ring in rings:
            ring.close()


def _text(rows: list[dict[str, Any]], rounds: int) -> str:
    def cells(row: dict[str, Any]) -> tuple[str, ...]:
        low, high = row["quartiles_more_ns"]
        return (
            f"{row['part']} ({row['hook']})",
            report.times(row["ratio"]),
            f"{report.ns(row['more_ns'])} ({report.ns(low)} to {report.ns(high)})",
            report.ns(row["without_ns"]),
            report.ns(row["with_ns"]),
        )

    heads = ("part (hook)", "times", "more, ns", "without, ns", "with, ns")
    return (
        "# What parts of a rule cost a packet\n\n"
        "A policy of one rule that passes every packet, with the part and without. ns a packet on one CPU "
        f"over a program that answers at once; medians of {rounds} rounds in turns, each round a slice of "
        "each. `times`: of the policy without the part; `more`: the difference within a round, in brackets "
        "its middle half. The kernel tells whole nanoseconds, and differences of less than three are noise."
        "\n\n"
        + report.table(heads, [cells(row) for row in rows])
        + "\nLimits are never exhausted, and one CPU uses their buckets: CPUs that share a bucket cost each "
        "other more. Events are read between rounds. A copy of `mirror` ends at a device that is down: what "
        "sending it costs comes on top.\n"
    )


if __name__ == "__main__":
    main()
