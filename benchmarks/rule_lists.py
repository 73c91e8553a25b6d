"""Lists of rules over addresses, protocol and ports: what a packet pays for 10 to 100,000 of them.

    python -m benchmarks.rule_lists [--quick] [--families acl,fw,ipc]

Three families of rules (`rule_sets`), found by the classifier that the planner takes and, as far as it loads,
by the chain of comparisons that it would be without. Packets are new to the caches: a pool (`harness`) of
those that lie in rules drawn at random, and one of those between random addresses. Figures are whole programs
(parsing, rules, counter of the deciding rule) over the floor of the harness; the chain's cost beside the
classifier's is the ratio. What it takes to compile and load them, memory, and how many instructions the
verifier looked at stand beside it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lockgate.compiler.driver import Options, Session
from lockgate.runtime import bundle, loader, plan

from . import curves, harness, report, rule_sets, tuples

SIZES = (10, 100, 1_000, 10_000, 100_000)
QUICK_SIZES = (10, 100, 1_000, 10_000)
MAX_CHAIN = 3_000  # rules; a longer chain is refused
CHAIN = frozenset({"inline", "hash", "lpm_trie", "range_index"})
POOLS = ("in a rule", "anywhere")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer sizes and rounds")
    parser.add_argument("--families", default=",".join(rule_sets.FAMILIES), help="with commas")
    parser.add_argument("--results", type=Path, help="folder for the results")
    given = parser.parse_args(arguments)
    if not harness.possible():
        print("rule_lists: skipped, it needs root and BPF")
        return
    rows: list[dict[str, Any]] = []
    sizes, rounds = (QUICK_SIZES, 11) if given.quick else (SIZES, harness.ROUNDS)
    with tempfile.TemporaryDirectory(prefix="lg-bench-") as folder:
        for family in given.families.split(","):
            for size in sizes:
                rows += _compare(Path(folder), family, size, rounds)
                print(f"  {family} {size:,}", flush=True)
    report.publish("rule_lists", _text(rows), {"rows": rows}, given.results)
    lines = {
        f"{family}, {way}": [
            (r["rules"], r["in a rule_ns"]) for r in rows if (r["family"], r["way"]) == (family, way)
        ]
        for family in given.families.split(",")
        for way in ("chosen", "chain")
    }
    curves.draw("rule_lists", "rules", "ns a packet that matches", lines, given.results)


def _compare(folder: Path, family: str, size: int, rounds: int) -> list[dict[str, Any]]:
    path, rules = rule_sets.write(folder, family, size)
    pools = {"in a rule": tuples.inside(rules), "anywhere": tuples.anywhere()}
    found: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        programs = {}
        for way, structures in {"chosen": None, "chain": CHAIN if size <= MAX_CHAIN else None}.items():
            if way == "chain" and structures is None:
                continue
            begin = time.perf_counter()
            with Session(path, Options(structures=structures)) as session:
                session.prepare()
                classifies = bool(session.plan(session.unit.chains[0]).classifiers)
                built = bundle.parse(session.bundle())
            compiled = time.perf_counter()
            loading = plan.make(built)
            loaded = stack.enter_context(loader.load(loading))
            (programs[way],) = loaded.programs.values()
            found[way] = {
                "family": family,
                "rules": size,
                "way": way,
                "classifier": classifies,
                "compile_s": compiled - begin,
                "load_s": time.perf_counter() - compiled,
                "table_bytes": sum(len(data.contents) for data in loading.data),
                "verified": harness.program_info(programs[way])["verified"],
            }
        times = tuples.measure(programs, pools, rounds)
    for way, row in found.items():
        for pool in POOLS:
            figures = harness.Figures(tuple(times["", pool]), {pool: tuple(times[way, pool])})
            row |= {f"{pool}_ns": figures.median(pool), f"{pool}_best_ns": figures.best(pool)}
    return list(found.values())


def _text(rows: list[dict[str, Any]]) -> str:
    parts = ["# Rule lists\n\nns a packet over the floor, median of rounds.\n"]
    head = (
        "rules",
        "in a rule",
        "anywhere",
        "chain",
        "times",
        "compile, s",
        "load, s",
        "tables, KiB",
        "verified",
    )
    for family in dict.fromkeys(row["family"] for row in rows):
        mine = [row for row in rows if row["family"] == family]
        chains = {row["rules"]: row for row in mine if row["way"] == "chain"}
        body = []
        for row in mine:
            if row["way"] != "chosen":
                continue
            chain = chains.get(row["rules"])
            ratio = chain["in a rule_ns"] / max(1.0, row["in a rule_ns"]) if chain else None
            body.append(
                (
                    f"{row['rules']:,}" + ("" if row["classifier"] else " (a chain)"),
                    report.ns(row["in a rule_ns"]),
                    report.ns(row["anywhere_ns"]),
                    report.ns(chain["in a rule_ns"]) if chain else "refused",
                    "" if ratio is None else report.times(ratio),
                    f"{row['compile_s']:.1f}",
                    f"{row['load_s']:.2f}",
                    f"{row['table_bytes'] / 1024:,.0f}",
                    f"{row['verified']:,}",
                )
            )
        parts.append(f"## {family}\n\n" + report.table(head, body))
    return "\n".join(parts)


if __name__ == "__main__":
    main()
