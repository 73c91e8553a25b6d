"""What a profile saves: policies under a skewed flood, built with a profile of it and without.

    python -m benchmarks.profiled [--quick]

Nine of ten packets are decided by one rule that stands near the end; the rest are an even mix. Both builds
run the same packets in turns, net of a program that does nothing, and must decide them alike. The flood is
drawn anew after the profile was taken. Needs root.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lockgate.compiler.decision import DEFAULT
from lockgate.compiler.driver import Options, Session
from lockgate.cost import measure
from lockgate.cost.samples import Sample, Sampler
from lockgate.runtime import bundle, coldrun, testrun
from lockgate.stdlib_bpf import profile
from lockgate.stdlib_bpf.decode.frame import Frame

from . import harness, policies, report

FLOOD = 0.9  # share of packets that the hot rule decides
PACKETS = 8_192
CHAINS = (10, 40, 200)  # rules that classifiers cannot take
LISTS = (100, 1_000, 10_000)  # rules that they can


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds and sizes")
    parser.add_argument("--results", type=Path, help="folder for the results")
    given = parser.parse_args(arguments)
    if not harness.possible():
        print("profiled: skipped, it needs root and BPF")
        return
    rounds, sizes = (9, 2) if given.quick else (25, 3)
    with tempfile.TemporaryDirectory(prefix="lg-bench-") as folder:
        paths = [conditions(Path(folder), count) for count in CHAINS[:sizes]]
        paths += [policies.rules_policy(Path(folder), count) for count in LISTS[:sizes]]
        rows = [measured(path, rounds) for path in paths]
    report.publish("profiled", _text(rows, rounds), {"rows": rows}, given.results)


def conditions(folder: Path, count: int) -> Path:
    """Write a policy of so many named rules by port and TTL, which stay a chain; its path."""
    rules = "".join(f"  r{i}: drop udp to port {2_000 + i} if ip.ttl < 128\n" for i in range(count))
    path = folder / f"conditions_{count}.gate"
    path.write_text(f'policy edge at xdp on "lo" {{\n  default pass\n  fragments first-only\n{rules}}}\n')
    return path


def measured(path: Path, rounds: int) -> dict[str, Any]:
    """One row. ValueError when the builds do not decide the flood alike."""
    with Session(path) as session:
        (chain,) = session.unit.chains
        hot = _hot(session)
        flood, before = ({DEFAULT: 0, hot: 1}, 1 - FLOOD)
        first = _drawn(Sampler(session, chain, {}, seed=1), flood, before)
        counts = {"default": sum(one.rule == DEFAULT for one in first)}
        counts |= {rule.label: sum(one.rule == i for one in first) for i, rule in enumerate(chain.rules)}
        taken = path.with_suffix(".profile")
        taken.write_text(profile.to_json(profile.Profile(path.stem, {chain.name: counts})))
        samples = _drawn(Sampler(session, chain, {}, seed=2), flood, before)
        label = chain.rules[hot].label
    frames = [one.packet.data for one in samples if isinstance(one.packet, Frame)]
    pool = measure.pooled(frames)
    with ExitStack() as stack:
        floor = stack.enter_context(coldrun.constant("pass", harness.XDP))
        targets = {"floor": floor}
        counted = {}
        for name, chosen in (("without", None), ("with", taken)):
            loaded = stack.enter_context(_loaded(path, chosen))
            counted[name] = loaded.counters
            targets[name] = loaded.program()
        ready = {
            name: stack.enter_context(coldrun.stamping(target, pool, coldrun.WHOLE_FRAME, harness.XDP))
            for name, target in targets.items()
        }
        for front in ready.values():
            coldrun.running(front, frames[0])(len(pool))
        if counted["with"]() != counted["without"]():
            raise ValueError(f"{path.name}: the builds decide differently")
        found = harness.alternate(ready, frames[0], rounds)
    net = [(a - f, b - f) for f, a, b in zip(found["floor"], found["without"], found["with"], strict=True)]
    return {
        "policy": path.stem,
        "rules": len(chain.rules),
        "hot": label,
        "share": sum(one.rule == hot for one in samples) / len(samples),
        "without_ns": statistics.median(a for a, _ in net),
        "with_ns": statistics.median(b for _, b in net),
        "ratio": statistics.median(a / max(1, b) for a, b in net),
        "rounds": found,
    }


def _hot(session: Session) -> int:
    """The last rule that has packets of its own."""
    (chain,) = session.unit.chains
    sampler = Sampler(session, chain, {})
    return next(rule for rule in reversed(range(len(chain.rules))) if len(sampler.of(rule, 32)) == 32)


def _drawn(sampler: Sampler, flood: dict[int, int], rest: float) -> list[Sample]:
    return sampler.mix(round(PACKETS * (1 - rest)), flood) + sampler.mix(round(PACKETS * rest))


def _loaded(path: Path, chosen: Path | None) -> testrun.LoadedChain:
    with Session(path, Options(profile=chosen)) as session:
        session.prepare()
        return testrun.load_chain(bundle.parse(session.bundle()), session.unit.chains[0].name)


def _text(rows: list[dict[str, Any]], rounds: int) -> str:
    body = [
        (
            f"{row['policy']}, hot: `{row['hot']}`",
            f"{100 * row['share']:.0f} %",
            report.ns(row["without_ns"]),
            report.ns(row["with_ns"]),
            report.times(row["ratio"]),
        )
        for row in rows
    ]
    heads = ("policy", "share of the hot rule", "without, ns", "with, ns", "times less")
    return (
        "# What a profile saves under a skewed flood\n\n"
        "Rules by port and TTL (`conditions`), which stay a chain of comparisons, and rules by addresses, "
        "protocol and ports (`rules`), which a classifier finds. One rule near the end decides nine of ten "
        "packets; the profile is of other packets of the same flood. ns a packet net of a program that "
        f"answers at once, cold packets, medians of {rounds} rounds in turns; both builds decided all "
        "packets alike.\n\n" + report.table(heads, body)
    )


if __name__ == "__main__":
    main()
