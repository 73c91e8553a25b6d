"""Lookup structures side by side: the same prefixes in each, new addresses in every packet.

    python -m benchmarks.structures [--quick]

Tells whether the planner's choice is the fastest there is, for IPv4 and IPv6, and what memory each structure
takes. Figures are whole programs (parsing, lookup, counter, verdict) over the floor of the harness.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lockgate.compiler.driver import Session
from lockgate.runtime.sys.fd import Fd

from . import harness, policies, report

SIZES = {4: (1, 4, 16, 64, 100, 1_000, 10_000, 100_000), 6: (1, 4, 16, 100, 1_000, 10_000, 100_000)}
QUICK_SIZES = {4: (4, 16, 64, 1_000, 100_000), 6: (16, 1_000, 100_000)}
KINDS: dict[int, tuple[str, ...]] = {4: ("inline", "range_index", "lpm_trie"), 6: ("inline", "lpm_trie")}
MAX_INLINE = 100  # entries; beyond, code size is the limit and not time


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer sizes and rounds")
    parser.add_argument("--results", type=Path, help="folder for the results")
    given = parser.parse_args(arguments)
    if not harness.possible():
        print("structures: skipped, it needs root and BPF")
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="lg-bench-") as folder:
        for version, sizes in (QUICK_SIZES if given.quick else SIZES).items():
            for size in sizes:
                rows += _compare(Path(folder), version, size, 11 if given.quick else harness.ROUNDS)
    report.publish("structures", _text(rows), {"rows": rows}, given.results)


def _compare(folder: Path, version: int, size: int, rounds: int) -> list[dict[str, Any]]:
    path = policies.list_policy(folder, size, version)
    hits, misses = harness.pools(policies.prefixes(size, version), version)
    chosen = _chosen(path, version)
    memory: dict[str, int] = {}
    with ExitStack() as stack:
        programs: dict[str, Fd] = {}
        for kind in KINDS[version]:
            if kind == "inline" and size > MAX_INLINE:
                continue
            found = stack.enter_context(harness.loaded(path, frozenset({kind})))
            (programs[kind],) = found.programs.values()
            memory[kind] = harness.map_bytes(found.maps)
        figures = harness.measure(programs, hits, misses, version, rounds)
    return [
        {
            "version": version,
            "entries": size,
            "structure": kind,
            "chosen": kind == chosen,
            "map_bytes": memory[kind],
            **{f"{what}_ns": f.best(what) for what in ("hit", "miss")},
            **{f"{what}_median_ns": f.median(what) for what in ("hit", "miss")},
        }
        for kind, f in figures.items()
    ]


def _chosen(path: Path, version: int) -> str:
    """The structure that the planner takes when it may take any."""
    with Session(path) as session:
        tables = session.plan(session.unit.chains[0]).tables
    return next((t.kind for t in tables if t.width_bits == (32 if version == 4 else 128)), "inline")


def _text(rows: list[dict[str, Any]]) -> str:
    parts = ["# Lookup structures\n\nns a packet over the floor, minimum (median of rounds).\n"]
    for version in (4, 6):
        mine = [r for r in rows if r["version"] == version]
        body = []
        for r in mine:
            hit, miss = (
                f"{report.ns(r[f'{w}_ns'])} ({report.ns(r[f'{w}_median_ns'])})" for w in ("hit", "miss")
            )
            name = f"{r['entries']:,} in {r['structure']}" + (" (chosen)" if r["chosen"] else "")
            body.append((name, hit, miss, f"{r['map_bytes'] / 1024:,.0f}"))
        parts.append(
            f"## IPv{version} prefixes\n\n" + report.table(("set", "hit", "miss", "maps, KiB"), body)
        )
    return "\n".join(parts)


if __name__ == "__main__":
    main()
