"""Several sets asked about one address: one look-up for all of them beside one for each.

    python -m benchmarks.classes [--quick]

A policy has N rules, each of which drops what comes from a set of its own. A packet that is in none of them
is asked about all, one of the last set, too. Measured in turns: the policy as the planner makes it when it
may use tags (`stdlib_bpf.tags`), when it must, and when it must not; new addresses in every packet. "net" is
without what a program costs that asks for nothing.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lockgate.compiler.driver import Session
from lockgate.compiler.plan.choose import STRUCTURES
from lockgate.runtime.sys.fd import Fd
from lockgate.stdlib_bpf import tags

from . import harness, policies, report

SETS, SIZES = (2, 4, 8), {4: (1_000, 10_000, 100_000), 6: (1_000, 10_000)}
QUICK_SETS, QUICK_SIZES = (2, 4), {4: (10_000,), 6: (1_000,)}
ROUNDS, QUICK_ROUNDS = 9, 5
POOLS = ("hit", "miss")
WAYS: dict[str, frozenset[str] | None] = {
    "tags": frozenset(tags.ALL),
    "tables": STRUCTURES - tags.ALL.keys(),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer sizes and rounds")
    parser.add_argument("--results", type=Path, help="folder for the results")
    given = parser.parse_args(arguments)
    if not harness.possible():
        print("classes: skipped, it needs root and BPF")
        return
    rounds = QUICK_ROUNDS if given.quick else ROUNDS
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="lg-bench-") as folder:
        for version, sizes in (QUICK_SIZES if given.quick else SIZES).items():
            for size in sizes:
                for count in QUICK_SETS if given.quick else SETS:
                    rows.append(measured(Path(folder), version, count, size, rounds))
                    print(_table(rows[-1:]), flush=True)
    report.publish("classes", _text(rows, rounds), {"rows": rows}, given.results)


def measured(folder: Path, version: int, count: int, size: int, rounds: int) -> dict[str, Any]:
    """One row: so many sets of so many prefixes each. `folder`: where the policy may be written."""
    sets = [policies.prefixes(size, version, seed) for seed in range(1, count + 1)]
    path = policies.sets_policy(folder, sets, version)
    every = sorted({entry for one in sets for entry in one})
    asked = {"hit": _alone(sets, version), "miss": harness.pools(every, version)["miss"]}
    memory: dict[str, int] = {}
    with ExitStack() as stack:
        base = stack.enter_context(harness.loaded(policies.bare_policy(folder)))
        programs: dict[str, Fd] = {}
        for name, structures in WAYS.items():
            found = stack.enter_context(harness.loaded(path, structures))
            (programs[name],) = found.programs.values()
            memory[name] = harness.map_bytes(found.maps)
        (bare,) = base.programs.values()
        figures = harness.measure(programs, asked, version, rounds, {("base", "miss"): bare})
    idle = figures["base"].pools["miss"]
    net = {
        (name, what): [ns - bare for ns, bare in zip(figures[name].pools[what], idle, strict=True)]
        for name in WAYS
        for what in POOLS
    }
    return {
        "version": version,
        "sets": count,
        "prefixes": size,
        "chosen": _chosen(path),
        **{f"{name}_{what}_ns": statistics.median(ns) for (name, what), ns in net.items()},
        **{f"{name}_bytes": size for name, size in memory.items()},
        **{
            f"{what}_ratio": statistics.median(
                theirs / max(1, mine)
                for theirs, mine in zip(net["tables", what], net["tags", what], strict=True)
            )
            for what in POOLS
        },
        "rounds": {f"{name} {what}": figures[name].pools[what] for name in WAYS for what in POOLS},
        "base": idle,
    }


def _alone(sets: Sequence[Sequence[tuple[int, int]]], version: int) -> list[int]:
    """Addresses of the last set: some are in others, too, as chance will have it."""
    return harness.pools(sets[-1], version)["hit"]


def _chosen(path: Path) -> str:
    """What the planner takes when it may take any."""
    with Session(path) as session:
        plan = session.plan(session.unit.chains[0])
    return "tags" if plan.tags else "tables"


def _table(rows: Sequence[dict[str, Any]]) -> str:
    heads = ("sets", "chosen", "tags, ns", "tables, ns", "tables / tags", "tags, KiB", "tables, KiB")
    return report.table(
        heads,
        [
            (
                f"{r['sets']} of {r['prefixes']:,}, {what}",
                r["chosen"],
                report.ns(r[f"tags_{what}_ns"]),
                report.ns(r[f"tables_{what}_ns"]),
                report.times(r[f"{what}_ratio"]),
                f"{r['tags_bytes'] / 1024:,.0f}",
                f"{r['tables_bytes'] / 1024:,.0f}",
            )
            for r in rows
            for what in POOLS
        ],
    )


def _text(rows: Sequence[dict[str, Any]], rounds: int) -> str:
    parts = [
        "# Several sets asked about one address\n\nA policy of N rules, each about a set of its own; they "
        f"lie in one tag structure, or each in a table. Net ns a packet, medians of {rounds} rounds in turn; "
        "`hit`: of the last set; the ratio is of each round, its median.\n"
    ]
    for version in dict.fromkeys(r["version"] for r in rows):
        parts.append(f"## IPv{version}\n\n{_table([r for r in rows if r['version'] == version])}")
    return "\n".join(parts)


if __name__ == "__main__":
    main()
