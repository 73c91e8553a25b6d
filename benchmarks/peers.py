"""Rule lists and sets at XDP beside iptables, nftables, ipset and hand-written programs, on the same packets.

    python -m benchmarks.peers [--quick] [--yardstick PATH]

The yardstick is a program of others' making (`yardstick`; `--yardstick`, or the environment variable
LOCKGATE_YARDSTICK). All engines are measured in turns, several times; ratios are taken within a turn. Peers
that are not installed are left out, and so are sizes that a peer takes minutes to load. Needs root.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import harness, report, yardstick

US = "lockgate"
RULES = (1, 10, 100, 1_000, 10_000)
SETS = (10_000, 100_000, 1_000_000)
QUICK_RULES, QUICK_SETS = (1, 100, 1_000), SETS[:1]
SCENARIOS = {
    ("rules", "saddr"): "rules for one host, udp and a port each; the last one matches",
    (
        "rules",
        "mixed",
    ): "rules for prefixes or any source, tcp or udp, ports and ranges; the last one matches",
    ("set", "host"): "a set of hosts; packets from all of them in turns",
    ("set", "mixed"): "a set of prefixes of mixed lengths; packets from all of them in turns",
}
Key = tuple[str, str, int]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one turn, fewer sizes")
    parser.add_argument("--turns", type=int, default=3, help="of all engines")
    parser.add_argument("--results", type=Path, help="folder for the results")
    parser.add_argument("--yardstick", default=os.environ.get("LOCKGATE_YARDSTICK"), help="its program")
    given = parser.parse_args(arguments)
    if not harness.possible() or not given.yardstick:
        print("peers: skipped, it needs root and a yardstick (LOCKGATE_YARDSTICK)")
        return
    rules, sets, turns = (QUICK_RULES, QUICK_SETS, 1) if given.quick else (RULES, SETS, given.turns)
    sizes = ["--rules", ",".join(map(str, rules)), "--sets", ",".join(map(str, sets))]
    found = [yardstick.run(Path(given.yardstick), sizes, {US: yardstick.ENGINE}) for _ in range(turns)]
    rows = _rows(found)
    report.publish("peers", _text(rows, turns), {"rows": rows}, given.results)


def _rows(turns: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Per engine and scenario: smallest figures of all turns, and how many times ours within each turn. One
    that failed in a turn has that reason instead."""
    by_turn = [{(r["engine"], (r["kind"], r["scenario"], r["size"])): r for r in turn} for turn in turns]
    rows = []
    for (engine, key), first in by_turn[0].items():
        turns_of = [turn for turn in by_turn if (engine, key) in turn]
        mine = [turn[engine, key] for turn in turns_of]
        if any("skipped" in r for r in mine):
            continue
        row: dict[str, Any] = {"engine": engine, "hook": first["hook"], "key": key}
        if reasons := [r["failed"] for r in mine if "failed" in r]:
            rows.append(row | {"failed": reasons[0]})
            continue
        for what in ("net_hit", "net_miss", "e2e", "load_s"):
            row[what] = min(r[what] for r in mine)
        ours = [turn.get((US, key), {}).get("net_hit", 0) for turn in turns_of]
        ratios = [r["net_hit"] / us for r, us in zip(mine, ours, strict=True) if us > 0]
        row["ratio"] = statistics.median(ratios) if ratios else None
        rows.append(row)
    return rows


def _text(rows: list[dict[str, Any]], turns: int) -> str:
    parts = [
        "# Beside other packet filters\n\n"
        f"ns a packet on one CPU, one that matches, minimum of {turns} turn(s), net: minus the same hook "
        "dropping everything without a rule. In brackets how many times our figure of the same turn.\n"
    ]
    for (kind, scenario), title in SCENARIOS.items():
        mine = [r for r in rows if tuple(r["key"][:2]) == (kind, scenario)]
        sizes = sorted({r["key"][2] for r in mine})
        body = []
        for engine, hook in dict.fromkeys((r["engine"], r["hook"]) for r in mine):
            cells = {r["key"][2]: _cell(r) for r in mine if (r["engine"], r["hook"]) == (engine, hook)}
            body.append((f"{engine} ({hook})", *(cells.get(size, "–") for size in sizes)))
        if body:
            head = ("engine (hook)", *(f"{size:,}" for size in sizes))
            parts.append(f"## {title[0].upper()}{title[1:]}\n\n" + report.table(head, body))
    return "\n".join(parts)


def _cell(row: dict[str, Any]) -> str:
    if "failed" in row:
        return "refused"
    beside = row["engine"] != US and row["ratio"] is not None
    return report.ns(row["net_hit"]) + (f" ({report.times(row['ratio'])})" if beside else "")


if __name__ == "__main__":
    main()
