"""Lookup structures side by side: the same set in each, new addresses in every packet.

    python -m benchmarks.structures [--quick] [--real FOLDER]

Tells whether the planner's choice is the fastest there is, and what memory each structure takes: hosts,
prefixes as in a routing table, prefixes inside others, block lists of both. With `--real`, or in the folder
that LOCKGATE_PREFIXES names, also `prefixes_v4.txt.xz` and `prefixes_v6.txt.xz`: a prefix a line, and samples
of them. Figures are whole programs (parsing, lookup, counter, verdict) over the floor of the harness; "net"
is without what the same program costs that asks for nothing.
"""

from __future__ import annotations

import argparse
import ipaddress
import lzma
import os
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockgate.compiler.driver import Session
from lockgate.runtime.sys.fd import Fd

from . import harness, policies, report

Entries = list[tuple[int, int]]
POOLS = ("hit", "zipf", "miss")
MAX_INLINE = 100  # entries; beyond, code size is the limit and not time
ROUNDS, QUICK_ROUNDS = 15, 7
KERNEL = ("hash", "lpm_trie")


@dataclass(frozen=True)
class Kind:
    """Sets of one kind. `sizes`: how many entries, `quick`: of them with --quick; `structures`: compared."""

    name: str
    version: int
    entries: Callable[[int, int], Entries]
    sizes: tuple[int, ...]
    quick: tuple[int, ...]
    structures: tuple[str, ...]


KINDS = (
    Kind("hosts", 4, policies.hosts, (100, 1_000, 10_000, 100_000, 1_000_000), (1_000, 100_000),
         ("cuckoo", "range_index", "hash", "lpm_trie")),
    Kind("prefixes", 4, policies.prefixes, (1, 4, 16, 64, 1_000, 10_000, 100_000, 1_000_000), (16, 100_000),
         ("inline", "range_index", "hosts_and_ranges", "lpm_trie")),
    Kind("nested prefixes", 4, policies.nested, (10_000, 100_000), (10_000,),
         ("range_index", "hosts_and_ranges", "lpm_trie")),
    Kind("block list", 4, policies.block_list, (10_000, 100_000, 1_000_000), (100_000,),
         ("range_index", "hosts_and_ranges", "lpm_trie")),
    Kind("hosts", 6, policies.hosts, (100, 1_000, 10_000, 100_000, 1_000_000), (100_000,),
         ("cuckoo6", "range_tree", "hash", "lpm_trie")),
    Kind("prefixes", 6, policies.prefixes, (4, 16, 100, 1_000, 10_000, 100_000, 1_000_000), (16, 100_000),
         ("inline", "range_tree", "lpm_trie")),
    Kind("nested prefixes", 6, policies.nested, (100_000,), (10_000,), ("range_tree", "lpm_trie")),
)  # fmt: skip
REAL = {4: ("range_index", "hosts_and_ranges", "lpm_trie"), 6: ("range_tree", "lpm_trie")}
REAL_SIZES, REAL_QUICK = (1_000, 10_000, 100_000, 0), (100_000,)  # 0: all


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer sizes and rounds")
    parser.add_argument("--real", type=Path, help="folder with prefixes_v4.txt.xz and prefixes_v6.txt.xz")
    parser.add_argument("--results", type=Path, help="folder for the results")
    given = parser.parse_args(arguments)
    if not harness.possible():
        print("structures: skipped, it needs root and BPF")
        return
    named = os.environ.get("LOCKGATE_PREFIXES")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="lg-bench-") as folder, ExitStack() as stack:
        base = {version: _base(Path(folder), version, stack) for version in (4, 6)}
        for kind in (*KINDS, *_real(given.real or (Path(named) if named else None))):
            for size in kind.quick if given.quick else kind.sizes:
                rounds = QUICK_ROUNDS if given.quick else ROUNDS
                found = _compare(Path(folder), kind, size, base[kind.version], rounds)
                print(_table(found), flush=True)
                rows += found
    report.publish("structures", _text(rows), {"rows": rows}, given.results)


def _real(folder: Path | None) -> Iterator[Kind]:
    """The lists of real prefixes that are there; says which are not."""
    for version, structures in REAL.items():
        name = f"prefixes_v{version}.txt.xz"
        if folder is None or not (folder / name).is_file():
            print(f"structures: without {name}: no folder that has it (--real)")
            continue
        every = _read(folder / name)

        def sample(count: int, version: int, every: Entries = every) -> Entries:
            return sorted(random.Random(f"real {version}").sample(every, count or len(every)))

        yield Kind("real prefixes", version, sample, REAL_SIZES, REAL_QUICK, structures)


def _read(path: Path) -> Entries:
    with lzma.open(path, "rt") as lines:
        networks = [line.strip().partition("/") for line in lines]
    return [(int(ipaddress.ip_address(address)), int(length)) for address, _, length in networks]


def _base(folder: Path, version: int, stack: ExitStack) -> Fd:
    """A program that decodes and counts, and looks nothing up."""
    path = folder / f"base{version}.gate"
    path.write_text('policy edge at xdp on "lo" {\n  fragments first-only\n  default pass\n  drop tcp\n}\n')
    (program,) = stack.enter_context(harness.loaded(path)).programs.values()
    return program


def _compare(folder: Path, kind: Kind, size: int, base: Fd, rounds: int) -> list[dict[str, Any]]:
    entries = kind.entries(size, kind.version)
    path = policies.entries_policy(folder, f"set{kind.version}", entries, kind.version)
    asked = harness.pools(entries, kind.version)
    chosen = _chosen(path, kind.version)
    memory: dict[str, int] = {}
    with ExitStack() as stack:
        programs: dict[str, Fd] = {}
        for structure in kind.structures:
            if structure == "inline" and size > MAX_INLINE:
                continue
            found = stack.enter_context(harness.loaded(path, frozenset({structure})))
            (programs[structure],) = found.programs.values()
            memory[structure] = harness.map_bytes(found.maps)
        figures = harness.measure(programs, asked, kind.version, rounds, base)
    idle = figures.pop("base")
    return [
        {
            "set": kind.name,
            "version": kind.version,
            "entries": len(entries),
            "structure": structure,
            "chosen": structure == chosen,
            "map_bytes": memory[structure],
            "base_ns": idle.best("miss"),
            "base_median_ns": idle.median("miss"),
            **{f"{what}_ns": f.best(what) for what in POOLS},
            **{f"{what}_median_ns": f.median(what) for what in POOLS},
        }
        for structure, f in figures.items()
    ]


def _chosen(path: Path, version: int) -> str:
    """The structure that the planner takes when it may take any."""
    with Session(path) as session:
        tables = session.plan(session.unit.chains[0]).tables
    return next((t.kind for t in tables if t.width_bits == (32 if version == 4 else 128)), "inline")


def _table(rows: list[dict[str, Any]]) -> str:
    """The rows of sets of one kind. The ratio is of net medians, hits, to the best map of the kernel's."""
    body = []
    for r in rows:
        figures = [f"{report.ns(r[f'{w}_ns'])} ({report.ns(r[f'{w}_median_ns'])})" for w in POOLS]
        name = f"{r['entries']:,} in {r['structure']}" + (" (chosen)" if r["chosen"] else "")
        memory = f"{r['map_bytes'] / 1024:,.0f}"
        body.append((name, *figures, _ratio(r, rows), memory, f"{r['map_bytes'] / r['entries']:,.1f}"))
    head = ("set", *POOLS, "kernel's / this, net", "maps, KiB", "bytes an entry")
    return report.table(head, body)


def _ratio(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    alike = [r for r in rows if r["entries"] == row["entries"] and r["structure"] in KERNEL]
    if row["structure"] in KERNEL or not alike:
        return ""
    net = row["hit_median_ns"] - row["base_median_ns"]
    theirs = min(r["hit_median_ns"] - r["base_median_ns"] for r in alike)
    return report.times(theirs / max(net, 1.0))


def _text(rows: list[dict[str, Any]]) -> str:
    parts = [
        "# Lookup structures\n\nns a packet over the floor, minimum (median of rounds); rounds alternate "
        "between all programs of a set, on a machine that also has other work.\n"
    ]
    for version, name in dict.fromkeys((r["version"], r["set"]) for r in rows):
        mine = [r for r in rows if (r["version"], r["set"]) == (version, name)]
        base = report.ns(min(r["base_ns"] for r in mine))
        parts.append(f"## IPv{version} {name}\n\nWithout a lookup: {base} ns.\n\n{_table(mine)}")
    return "\n".join(parts)


if __name__ == "__main__":
    main()
