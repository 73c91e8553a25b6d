"""Lists of rules over addresses, protocol and ports, of three families, beside what others make of them.

    python -m benchmarks.rule_lists [--quick] [--families acl,fw,ipc] [--sizes 10,1000]

Each list is a policy of rules (`rule_sets`). Rules are found by what the planner takes; as far as it loads,
by the chain of comparisons that they would be without, and by a linear program written by hand
(`handwritten`); and by iptables, by rules of nftables, and by maps of nftables that hold the same rules in
layers (`others`). Packets are new to the caches: a pool of those that lie in rules drawn at random, and one
of those between random addresses; verdicts are checked before. Figures of programs are net of one that drops
everything at once, so with parsing and counters; those of filters are net of the same chain without rules.
What it takes to compile and load, memory, and how many instructions the verifier looked at stand beside it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lockgate.compiler.cli import no_collector
from lockgate.compiler.driver import Options, Session
from lockgate.runtime import bundle, loader, plan
from lockgate.runtime.sys.fd import Fd
from lockgate.stdlib_bpf.classifiers import Box

from . import curves, handwritten, harness, others, report, rule_sets, stack, tuples

SIZES = (1, 10, 100, 1_000, 10_000, 100_000)
QUICK = {"acl": (10, 1_000, 10_000), "fw": (10, 1_000)}
ROUNDS, QUICK_ROUNDS = 21, 7
MAX_CHAIN = 3_000  # rules; a longer chain is refused
CHAIN = frozenset({"inline", "hash", "lpm_trie", "range_index"})
CHOSEN, CHAINED, BY_HAND = "chosen", "chain", "linear, by hand"
POOLS = ("in a rule", "anywhere")
QUICK_FILTERED = 1_000  # rules


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, sizes and families")
    parser.add_argument("--families", help="with commas")
    parser.add_argument("--sizes", help="with commas")
    parser.add_argument("--results", type=Path, help="folder for the results")
    given = parser.parse_args(arguments)
    if not harness.possible():
        print("rule_lists: skipped, it needs root and BPF")
        return
    rows: list[dict[str, Any]] = []
    lists = QUICK if given.quick else dict.fromkeys(rule_sets.FAMILIES, SIZES)
    if given.families:
        lists = {family: lists.get(family, SIZES) for family in given.families.split(",")}
    with tempfile.TemporaryDirectory(prefix="lg-bench-") as folder:
        for family, sizes in lists.items():
            for size in map(int, given.sizes.split(",")) if given.sizes else sizes:
                filtered = not given.quick or size <= QUICK_FILTERED
                rounds = QUICK_ROUNDS if given.quick else ROUNDS
                found = compare(Path(folder), family, size, rounds, others.ALL if filtered else ())
                print(f"{family}\n{_table(found)}", flush=True)
                rows += found
    report.publish("rule_lists", _text(rows), {"rows": rows}, given.results)
    curves.draw("rule_lists", "rules", "ns a packet that matches", _lines(rows), given.results)


def compare(
    folder: Path, family: str, size: int, rounds: int, filters: Sequence[others.Filter]
) -> list[dict[str, Any]]:
    """A row for each way to find the rule; those that do not load have the reason (`refused`)."""
    path, rules = rule_sets.write(folder, family, size)
    pools = {"in a rule": tuples.inside(rules), "anywhere": tuples.anywhere(rules)}
    about: dict[str, dict[str, Any]] = {}
    with ExitStack() as opened:
        programs: dict[str, Fd] = {}
        programs[CHOSEN], about[CHOSEN] = _loaded(path, None, opened)
        if size <= MAX_CHAIN:
            programs[CHAINED], about[CHAINED] = _loaded(path, CHAIN, opened)
            programs[BY_HAND] = opened.enter_context(handwritten.rules(rules))
            about[BY_HAND] = {"sort": "hand", **_verified(programs[BY_HAND])}
        held = {}
        for other in filters:
            if other.rules is None or other.missing():
                continue
            try:
                held[other.name] = _told(other, other.rules, rules, opened)
                about[other.name] = {"sort": "filter", "load_s": held[other.name].load_s}
            except stack.Refused as why:
                about[other.name] = {"sort": "filter", "refused": str(why)}
        figures = harness.compared(tuples.frame(), tuples.STAMP, pools, programs, rounds, {}, held)
    rows = []
    for way, facts in about.items():
        row = {"family": family, "rules": size, "way": way, **facts}
        for pool in POOLS if way in figures else ():
            row |= {f"{pool}_ns": figures[way].median(pool), f"{pool}_best_ns": figures[way].best(pool)}
        rows.append(row)
    return rows


def _told(other: others.Filter, say: others.Rules, rules: Sequence[Box], opened: ExitStack) -> stack.Loaded:
    """Refused for what the filter does not take."""
    if len(rules) > other.most_rules:
        raise stack.Refused(f"more than {other.most_rules:,} rules")
    return opened.enter_context(stack.loaded(other, say(rules), 4))


def _loaded(path: Path, structures: frozenset[str] | None, opened: ExitStack) -> tuple[Fd, dict[str, Any]]:
    begin = time.perf_counter()
    with no_collector(), Session(path, Options(structures=structures)) as session:
        session.prepare()
        session.analyse()
        classifies = bool(session.plan(session.unit.chains[0]).classifiers)
        built = bundle.parse(session.bundle())
    compiled = time.perf_counter()
    loading = plan.make(built)
    (program,) = opened.enter_context(loader.load(loading)).programs.values()
    return program, {
        "sort": "ours",
        "classifier": classifies,
        "compile_s": compiled - begin,
        "load_s": time.perf_counter() - compiled,
        "table_bytes": sum(len(data.contents) for data in loading.data),
        **_verified(program),
    }


def _verified(program: Fd) -> dict[str, int]:
    return {"verified": harness.program_info(program)["verified"]}


def _table(rows: list[dict[str, Any]]) -> str:
    """The rows of a family; how many times the chosen way's cost others take."""
    ours = {r["rules"]: r for r in rows if r["way"] == CHOSEN}
    body = []
    for r in rows:
        name = f"{r['rules']:,}, {r['way']}" + (" (a chain)" if r.get("classifier") is False else "")
        if "refused" in r:
            body.append((name, "refused", *[""] * 7))
            continue
        times = [r[f"{pool}_ns"] / max(1.0, ours[r["rules"]][f"{pool}_ns"]) for pool in POOLS]
        body.append(
            (
                name,
                *(report.ns(r[f"{pool}_ns"]) for pool in POOLS),
                *("" if r["way"] == CHOSEN else report.times(ratio) for ratio in times),
                f"{r['compile_s']:.1f}" if "compile_s" in r else "",
                f"{r['load_s']:.2f}" if "load_s" in r else "",
                f"{r['table_bytes'] / r['rules']:,.0f}" if "table_bytes" in r else "",
                f"{r['verified']:,}" if "verified" in r else "",
            )
        )
    beside = [f"{pool}, to chosen" for pool in POOLS]
    tail = ("compile, s", "load, s", "tables, bytes a rule", "verified")
    return report.table(("rules, way", *POOLS, *beside, *tail), body)


def _text(rows: list[dict[str, Any]]) -> str:
    parts = [
        "# Rule lists\n\nns a packet, medians of rounds that alternate between all programs and filters of a "
        "list. Programs: without what one costs that drops at once, so with parsing and counting. Filters of "
        "the stack: without what the same chain costs that drops everything.\n"
    ]
    for family in dict.fromkeys(row["family"] for row in rows):
        parts.append(f"## {family}\n\n" + _table([row for row in rows if row["family"] == family]))
    refused = {
        f"* {r['family']}, {r['rules']:,} in {r['way']}: {r['refused']}" for r in rows if "refused" in r
    }
    return "\n".join([*parts, *(["Refused:\n", *sorted(refused)] if refused else [])])


def _lines(rows: list[dict[str, Any]]) -> curves.Panels:
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in rows:
        if "refused" not in row:
            lines = panels.setdefault(row["family"], {})
            lines.setdefault(row["way"], []).append((row["rules"], max(1.0, row[f"{POOLS[0]}_ns"])))
    return panels


if __name__ == "__main__":
    main()
