"""The edge policy with 100,000 prefixes at XDP, beside ipset and an nftables interval set of the same list.

    python -m benchmarks.edge [--quick] [--yardstick PATH]

The yardstick is a program of others' making (`yardstick`; `--yardstick`, or the environment variable
LOCKGATE_YARDSTICK). All engines are measured in turns, several times, and the ratios are taken within a turn.
Needs root; skipped without the yardstick or without peers.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import harness, report, yardstick

HERE = Path(__file__).parent
EDGE = HERE.parent / "examples" / "edge" / "policy.gate"
US = "lockgate, the list"
PEERS = ("ipset", "nft raw set", "xdp reference map")
SIZE = 100_000


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--results", type=Path, help="folder for the results")
    parser.add_argument("--yardstick", default=os.environ.get("LOCKGATE_YARDSTICK"), help="its program")
    parser.add_argument("--kind", default="mixed", choices=("mixed", "host"), help="prefixes, or hosts only")
    given = parser.parse_args(arguments)
    if not harness.possible() or not given.yardstick:
        print("edge: skipped, it needs root and a yardstick (LOCKGATE_YARDSTICK)")
        return
    rounds = [_round(Path(given.yardstick), given.kind) for _ in range(1 if given.quick else 5)]
    rows = _rows(rounds)
    report.publish(f"edge_{given.kind}", _text(rows, given.kind, len(rounds)), {"rows": rows}, given.results)


def engines() -> dict[str, str]:
    """Name → command, for the yardstick."""
    command = yardstick.ENGINE
    found = {US: command, "lockgate, the list in LPM_TRIE": f"{command} --structures lpm_trie"}
    if EDGE.exists():
        edge = shlex.quote(str(EDGE))
        found["lockgate, all of examples/edge"] = f"{command} --policy {edge} --list blocklist.txt"
    return found


def _round(program: Path, kind: str) -> dict[str, dict[str, Any]]:
    """One turn of all engines: name → the yardstick's figures. ValueError when one of them failed."""
    asked = [
        "--shapes",
        "",
        "--sets",
        str(SIZE),
        "--set-kinds",
        kind,
        "--only",
        ",".join((*PEERS, "lockgate")),
    ]
    results = yardstick.run(program, asked, engines())
    failed = [f"{r['engine']}: {r['failed']}" for r in results if "failed" in r]
    if failed:
        raise ValueError("; ".join(failed))
    return {r["engine"]: r for r in results if "skipped" not in r}


def _rows(rounds: list[dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Per engine: smallest figures of all rounds, and the ratios to ours within each round."""
    rows = []
    for name in rounds[0]:
        row: dict[str, Any] = {"engine": name, "hook": rounds[0][name]["hook"]}
        for what in ("net_hit", "net_miss", "e2e", "load_s"):
            figures = [r[name][what] for r in rounds]
            ratios = [r[name][what] / r[US][what] for r in rounds if r[US][what] > 0]
            row[what] = {
                "min": min(figures),
                "all": figures,
                "ratio": statistics.median(ratios),
                "ratios": ratios,
            }
        rows.append(row)
    return rows


def _text(rows: list[dict[str, Any]], kind: str, rounds: int) -> str:
    def cell(row: dict[str, Any], what: str) -> str:
        ratios = row[what]["ratios"]
        spread = f"{report.times(min(ratios))} to {report.times(max(ratios))}"
        own = row["engine"] == US
        return report.ns(row[what]["min"]) + (
            "" if own else f" ({report.times(row[what]['ratio'])}, {spread})"
        )

    body = [
        (
            f"{r['engine']} ({r['hook']})",
            cell(r, "net_hit"),
            cell(r, "net_miss"),
            cell(r, "e2e"),
            f"{r['load_s']['min']:.2f}",
        )
        for r in rows
    ]
    what = "prefixes" if kind == "mixed" else "hosts"
    return (
        f"# {SIZE:,} {what}: lockgate beside others\n\n"
        f"ns a packet on one CPU, each packet with another address; minimum of {rounds} alternating rounds. "
        "In brackets: how many times our figure, median and extremes of the ratios within a round. "
        "Net: minus the same hook dropping everything without a rule. Whole: with receiving and dropping. "
        "Verdicts are verified before anything is measured.\n\n"
        + report.table(("engine (hook)", "hit, net", "miss, net", "hit, whole", "load, s"), body)
    )


if __name__ == "__main__":
    main()
