"""What the project wants of its speed, and what the kept results say of it.

    python -m benchmarks.targets [--results DIR]

Measures nothing: reads `NAME.json` of other benchmarks, takes one figure of each target from them (`figures`)
and writes a table. A target whose result is missing, or lacks the size in question, is not measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import figures, report
from .figures import BY_HAND, HOSTS, LEAST_NS, MILLION, MIXED, NEARLY, Figure, Row


@dataclass(frozen=True)
class Target:
    """`figure`: from the rows of the result `source`, at most or at least the limit."""

    name: str
    source: str
    limit: float
    unit: str
    most: bool
    figure: Figure


PREFIX_LISTS = ("IPv4 prefixes", "IPv4 hosts", "IPv6 prefixes", "mixed prefixes")
BEST = "the best of ipset, nftables sets and kernel maps"
SETS, LISTS, LARGE = "structures", "rule_lists", "large_inputs"
ALL = (
    Target(
        f"1,000,000 IPv4 hosts, hits: {BEST}",
        SETS,
        10,
        "×",
        False,
        figures.beside("hit", HOSTS, figures.peer, MILLION, MILLION),
    ),
    Target(
        f"1,000,000 mixed IPv4 prefixes, hits: {BEST}",
        SETS,
        10,
        "×",
        False,
        figures.beside("hit", MIXED, figures.peer, MILLION, MILLION),
    ),
    Target(
        f"1,000,000 mixed IPv4 prefixes, misses: {BEST}",
        SETS,
        25,
        "×",
        False,
        figures.beside("miss", MIXED, figures.peer, MILLION, MILLION),
    ),
    Target(
        "1,000,000 IPv4 hosts and prefixes, hits: LPM_TRIE",
        SETS,
        30,
        "×",
        False,
        figures.beside("hit", (*HOSTS, *MIXED), figures.trie, MILLION, MILLION),
    ),
    Target(
        "1,000,000 IPv4 hosts: latency to one random read of as much memory",
        SETS,
        3,
        "×",
        True,
        figures.latency("hosts"),
    ),
    Target("1,000,000 mixed IPv4 prefixes: the same", SETS, 3, "×", True, figures.latency(*MIXED)),
    Target("1,000,000 IPv4 entries: memory", SETS, 4, " bytes an entry", True, figures.bytes_an_entry),
    Target(
        "500,000 to 1,000,000 IPv6 hosts and prefixes, hits: LPM_TRIE",
        SETS,
        15,
        "×",
        False,
        figures.beside("hit", ("hosts", "prefixes", "real prefixes"), figures.trie, NEARLY, MILLION, 6),
    ),
    Target(
        f"10 to 1,000 IPv4 entries, hits: {BEST}",
        SETS,
        1,
        "×",
        False,
        figures.beside("hit", (*HOSTS, *MIXED), figures.peer, 10, 1_000),
    ),
    Target(
        f"10 to 1,000 IPv6 entries, hits: {BEST}",
        SETS,
        1,
        "×",
        False,
        figures.beside("hit", ("hosts", "prefixes"), figures.peer, 10, 1_000, 6),
    ),
    Target(
        "1 to 10 rules: more than a linear program by hand",
        LISTS,
        10,
        " ns",
        True,
        figures.rules(max, figures.more, 1, 10),
    ),
    Target(
        "100 to 1,000 rules: a linear program by hand",
        LISTS,
        1,
        "×",
        False,
        figures.rules(min, figures.to(BY_HAND), 100, 1_000),
    ),
    Target(
        "10,000 rules: iptables and nftables rules",
        LISTS,
        200,
        "×",
        False,
        figures.rules(min, figures.to("iptables", "nft rules"), 10_000, 10_000),
    ),
    Target(
        "100,000 rules: a packet",
        LISTS,
        250,
        " ns",
        True,
        figures.rules(max, figures.of("{pool}_ns"), 100_000, 100_000),
    ),
    Target(
        "100,000 rules: memory",
        LISTS,
        50,
        " bytes a rule",
        True,
        figures.rules(max, figures.of("table_bytes"), 100_000, 100_000),
    ),
    Target("100,000 rules: verified instructions to those of 10,000", LISTS, 1, "×", True, figures.verified),
    Target("an edge policy: end to end, to reading headers alone", "flood", 3, "×", True, figures.edge),
    Target(
        "build 1,000,000 prefixes, time of processors",
        LARGE,
        5,
        " s",
        True,
        figures.seconds("build", MILLION, *PREFIX_LISTS),
    ),
    Target(
        "build 10,000 rules, time of processors",
        LARGE,
        5,
        " s",
        True,
        figures.seconds("build", 10_000, "rules"),
    ),
    Target(
        "build 100,000 rules, time of processors",
        LARGE,
        60,
        " s",
        True,
        figures.seconds("build", 100_000, "rules"),
    ),
    Target(
        "10,000 rules of three families: compile",
        LISTS,
        5,
        " s",
        True,
        figures.rules(max, figures.of("compile_s"), 10_000, 10_000),
    ),
    Target(
        "100,000 rules of three families: compile",
        LISTS,
        60,
        " s",
        True,
        figures.rules(max, figures.of("compile_s"), 100_000, 100_000),
    ),
    Target(
        "100,000 rules of three families: load",
        LISTS,
        1,
        " s",
        True,
        figures.rules(max, figures.of("load_s"), 100_000, 100_000),
    ),
    Target(
        "load 1,000,000 prefixes, time of processors",
        LARGE,
        1,
        " s",
        True,
        figures.seconds("load", MILLION, *PREFIX_LISTS),
    ),
    Target(
        "load 100,000 rules, time of processors",
        LARGE,
        1,
        " s",
        True,
        figures.seconds("load", 100_000, "rules"),
    ),
    Target("a dynamic set: one entry more or less", "live_sets", 10, " µs", True, figures.change),
    Target(
        "a dynamic set: 1,000,000 prefixes in the place of others, once read",
        "live_sets",
        1,
        " s",
        True,
        figures.switch,
    ),
    Target(
        "`lockgate cost`: predicted to measured, either way",
        "cost_prediction",
        2,
        "×",
        True,
        figures.predicted,
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the same; for `run`")
    parser.add_argument("--results", type=Path, default=report.RESULTS, help="folder of the results")
    given = parser.parse_args(arguments)
    rows = [judged(target, given.results) for target in ALL]
    report.publish("targets", _text(rows), {"rows": rows}, given.results)


def judged(target: Target, folder: Path) -> Row:
    """A target with what is reached, None where that is not measured, and whether it is met."""
    path, reached = folder / f"{target.source}.json", None
    if path.exists():
        try:
            reached = target.figure(json.loads(path.read_text())["rows"])
        except (ValueError, KeyError, StopIteration):
            reached = None  # the result is of other sizes
    met = None if reached is None else (reached <= target.limit if target.most else reached >= target.limit)
    limit = {"limit": target.limit, "unit": target.unit, "most": target.most}
    return {"target": target.name, "source": target.source, **limit, "reached": reached, "met": met}


def _text(rows: list[Row]) -> str:
    body = [
        (
            row["target"],
            ("≤ " if row["most"] else "≥ ") + f"{row['limit']:g}{row['unit']}",
            "not measured" if row["reached"] is None else f"{row['reached']:,.3g}{row['unit']}",
            {None: "", True: "yes", False: "**no**"}[row["met"]],
            f"[{row['source']}]({row['source']}.md)",
        )
        for row in rows
    ]
    return (
        "# Targets\n\n"
        "From the results beside this page, whose machines and loads may differ. Ratios of cost are net: "
        "without what the same program or chain costs that looks nothing up. The worst of several sets, "
        f"families and kinds of packets counts; less than {LEAST_NS:g} ns counts as that.\n\n"
        + report.table(("target", "wanted", "reached", "met", "from"), body)
    )


if __name__ == "__main__":
    main()
