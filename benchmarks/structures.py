"""Sets of addresses side by side: in each lookup structure, in the kernel's maps, in nftables and ipset.

    python -m benchmarks.structures [--quick] [--real FOLDER] [--kinds NAME,…] [--sizes N,…]

Tells whether the planner's choice is the fastest there is, what it is worth beside what others have, and what
memory it takes: hosts, prefixes as in a routing table, prefixes inside others, block lists of both, and real
prefixes (`sets`). Every packet has another address. All figures are net: a program's without what the same
program costs that asks for nothing, a filter's of the stack without what the same chain costs that has no
rule and drops everything, one random read (`handwritten.read`, of a table as large as the chosen structure)
without what the program costs around it. Verdicts are checked before.

Hits are all dropped and misses all passed, which a processor foresees, so that lookups of several packets
overlap. In "half" it is by chance which packet is in the set: every other time the processor waits until the
lookup is done, so this pool tells of latency. What is subtracted there decides by chance as well, and looks
nothing up.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lockgate.compiler.driver import Session
from lockgate.runtime.sys.fd import Fd
from lockgate.stdlib_bpf.classifiers import Box

from . import curves, handwritten, harness, others, policies, report, sets, stack
from .harness import Figures
from .rule_sets import ANY_ADDRESS, ANY_PORT, ANY_PROTOCOL

POOLS = ("hit", "zipf", "miss", "half")
ROUNDS, QUICK_ROUNDS = 15, 7
MAPS = ("hash", "lpm_trie")
BASE, PARSED, READ = "no lookup", "headers alone", "one random read"
SMALLEST_TABLE = 4096
# Rules without a lookup, by the pool whose verdicts they have: all pass, or it is by chance who does.
UNASKED = {
    version: {"miss": "drop tcp", "half": f"drop from {half}"}
    for version, half in ((4, "128.0.0.0/1"), (6, "2800::/5"))
}
UPPER_HALF = Box(0, ((1 << 31, (1 << 32) - 1), ANY_ADDRESS, ANY_PROTOCOL, ANY_PORT, ANY_PORT), 1)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer sizes and rounds")
    parser.add_argument("--real", type=Path, help="folder with prefixes_v4.txt.xz and prefixes_v6.txt.xz")
    parser.add_argument("--kinds", help="only those, as in the headings, with commas")
    parser.add_argument("--sizes", help="only sets of so many entries, with commas")
    parser.add_argument("--results", type=Path, help="folder for the results")
    given = parser.parse_args(arguments)
    if not harness.possible():
        print("structures: skipped, it needs root and BPF")
        return
    only = given.kinds.split(",") if given.kinds else None
    sizes = tuple(map(int, given.sizes.split(","))) if given.sizes else None
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="lg-bench-") as name, ExitStack() as opened:
        base = {
            (version, what): _base(Path(name), version, rule, opened)
            for version, rules in UNASKED.items()
            for what, rule in rules.items()
        }
        for kind in sets.every(given.real):
            if only is not None and kind.title not in only:
                continue
            for size in sizes or (kind.quick if given.quick else kind.sizes):
                rounds = QUICK_ROUNDS if given.quick else ROUNDS
                found = compare(Path(name), kind, size, base, rounds)
                print(f"{kind.title}\n{_table(found)}", flush=True)
                rows += found
    report.publish("structures", _text(rows), {"rows": rows}, given.results)
    curves.draw("structures", "entries", "ns a packet that hits, net", _lines(rows), given.results)


def _base(folder: Path, version: int, rule: str, opened: ExitStack) -> Fd:
    """A program that decodes and counts, and looks nothing up."""
    path = folder / f"base{version}.gate"
    path.write_text(f'policy edge at xdp on "lo" {{\n  fragments first-only\n  default pass\n  {rule}\n}}\n')
    (program,) = opened.enter_context(harness.loaded(path)).programs.values()
    return program


def compare(
    folder: Path, kind: sets.Kind, size: int, base: Mapping[tuple[int, str], Fd], rounds: int
) -> list[dict[str, Any]]:
    """A row for each structure, each other filter and one random read. `base`: what asks for nothing, by
    version and pool."""
    entries = kind.entries(size, kind.version)
    path = policies.entries_policy(folder, f"set{kind.version}", entries, kind.version)
    chosen = _chosen(path, kind.version)
    about: dict[str, dict[str, Any]] = {}
    with ExitStack() as opened:
        programs: dict[str, Fd] = {}
        for structure in dict.fromkeys((*kind.compared(len(entries)), chosen)):
            one = opened.enter_context(harness.loaded(path, frozenset({structure})))
            (programs[structure],) = one.programs.values()
            sort = "map" if structure in MAPS else "structure"
            about[structure] = {"sort": sort, "map_bytes": harness.map_bytes(one.maps)}
        bases = {(BASE, what): fd for (version, what), fd in base.items() if version == kind.version}
        if kind.version == 4:
            size = max(SMALLEST_TABLE, 1 << round(math.log2(about[chosen]["map_bytes"])))
            bases[READ, "half"], _ = (opened.enter_context(fd) for fd in handwritten.read(size))
            bases[PARSED, "half"] = opened.enter_context(handwritten.rules([UPPER_HALF]))
            about[READ] = {"sort": "read", "map_bytes": size}
        filters = {}
        for other in others.ALL:
            if other.set is None or other.missing():
                continue
            held = opened.enter_context(stack.loaded(other, other.set(entries, kind.version), kind.version))
            filters[other.name], about[other.name] = held, {"sort": "filter", "load_s": held.load_s}
        asked = harness.pools(entries, kind.version)
        figures = harness.measure(programs, asked, kind.version, rounds, bases, filters)
    common = {"set": kind.name, "version": kind.version, "entries": len(entries)}
    common["base_ns"] = figures[BASE].median("miss")
    return [
        {**common, "structure": name, "chosen": name == chosen, **facts, **_net(figures, name, facts["sort"])}
        for name, facts in about.items()
    ]


def _net(figures: Mapping[str, Figures], name: str, sort: str) -> dict[str, float]:
    """ns by pool: the middle of the differences within each round, and that of the smallest figures."""
    of, found = figures[name], dict[str, float]()
    for what, rounds in of.pools.items():
        below = of.floor
        if sort != "filter":
            below = figures[PARSED if sort == "read" else BASE].pools["half" if what == "half" else "miss"]
        found[f"{what}_ns"] = statistics.median(a - b for a, b in zip(rounds, below, strict=True))
        found[f"{what}_best_ns"] = float(min(rounds) - min(below))
    return found


def _chosen(path: Path, version: int) -> str:
    """The structure that the planner takes when it may take any."""
    with Session(path) as session:
        tables = session.plan(session.unit.chains[0]).tables
    return next((t.kind for t in tables if t.width_bits == (32 if version == 4 else 128)), "inline")


def _table(rows: list[dict[str, Any]]) -> str:
    """The rows of sets of one kind; how many times the chosen structure's cost others take."""
    ours = {r["entries"]: r for r in rows if r["chosen"]}
    body = []
    for r in rows:
        figures = [report.ns(r[f"{what}_ns"]) if f"{what}_ns" in r else "" for what in POOLS]
        beside = [_times(r, ours[r["entries"]], what) for what in ("hit", "miss")]
        memory = ("", "")
        if "map_bytes" in r:
            memory = (f"{r['map_bytes'] / 1024:,.0f}", f"{r['map_bytes'] / r['entries']:,.1f}")
        name = f"{r['entries']:,} in {r['structure']}" if r["sort"] != "read" else r["structure"]
        name += " (chosen)" if r["chosen"] else ""
        body.append((name, *figures, *beside, *memory))
    head = ("set", *POOLS, "hit, to chosen", "miss, to chosen", "maps, KiB", "bytes an entry")
    return report.table(head, body)


def _times(row: dict[str, Any], ours: dict[str, Any], what: str) -> str:
    if row is ours or f"{what}_ns" not in row or row["sort"] == "read":
        return ""
    return report.times(row[f"{what}_ns"] / max(1.0, ours[f"{what}_ns"]))


def _text(rows: list[dict[str, Any]]) -> str:
    parts = [
        "# Sets of addresses\n\nns a packet for the lookup alone, medians of rounds that alternate between "
        "all programs and filters of a set. Programs: without what the same program costs that asks for "
        "nothing. nftables and ipset: without what the same chain costs that drops everything. Half: by "
        "chance every other packet is in the set, so that a processor cannot go on before it knows.\n"
    ]
    for version, name in dict.fromkeys((r["version"], r["set"]) for r in rows):
        mine = [r for r in rows if (r["version"], r["set"]) == (version, name)]
        base = report.ns(min(r["base_ns"] for r in mine))
        parts.append(f"## IPv{version} {name}\n\nThe program without a lookup: {base} ns.\n\n{_table(mine)}")
    return "\n".join(parts)


def _lines(rows: list[dict[str, Any]]) -> curves.Panels:
    """A picture for each kind: what is chosen, the kernel's maps, other filters."""
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in rows:
        label = "chosen" if row["chosen"] else row["structure"]
        if row["sort"] in ("map", "filter") or row["chosen"]:
            lines = panels.setdefault(f"IPv{row['version']} {row['set']}", {})
            lines.setdefault(label, []).append((row["entries"], max(1.0, row["hit_ns"])))
    return panels


if __name__ == "__main__":
    main()
