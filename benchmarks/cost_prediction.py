"""What `lockgate cost` predicts beside what it measures, on the example policies.

    python -m benchmarks.cost_prediction [--quick]

The same packets are predicted and measured, so the ratio judges the model and not a guess about traffic.
Fails when a prediction is out by more than LIMIT. Needs root.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lockgate.compiler.driver import Session
from lockgate.cost.account import Account, Asked, account
from lockgate.runtime import bundle

from . import harness, report

EXAMPLES = Path(__file__).parent.parent / "examples"
LIMIT = 2.0  # times, either way


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--results", type=Path, help="folder for the results")
    given = parser.parse_args(arguments)
    if not harness.possible():
        print("cost_prediction: skipped, it needs root and BPF")
        return
    asked = Asked(rounds=5 if given.quick else 15)
    accounts = [found for path in sorted(EXAMPLES.glob("*/policy.gate")) for found in measured(path, asked)]
    rows = [row for name, one in accounts for row in compared(name, one)]
    report.publish("cost_prediction", _text(rows, accounts, asked.rounds), {"rows": rows}, given.results)
    wrong = [row for row in rows if not 1 / LIMIT <= row["ratio"] <= LIMIT]
    if wrong:
        raise SystemExit(f"predictions that are out by more than {LIMIT} times: {wrong}")


def measured(path: Path, asked: Asked) -> Iterator[tuple[str, Account]]:
    """(example and rule list, account) of each list that the kernel can run."""
    with Session(path) as session:
        session.prepare()
        session.analyse()
        built = bundle.parse(session.bundle())
        for chain in session.unit.chains:
            one = account(session, chain, built, asked)
            if one.measured is not None:
                yield f"{path.parent.name}, {chain.name}", one


def compared(name: str, one: Account) -> Iterator[dict[str, Any]]:
    """A row for each group of packets."""
    assert one.measured is not None
    for group, ns in one.predicted.ns.items():
        yield {
            "list": name,
            "packets": group if group == "typical" else f"worst ({one.worst})",
            "predicted": ns,
            "measured": one.measured.ns[group],
            "ratio": ns / max(1.0, one.measured.ns[group]),
            "peers": {peer: priced.ns.get(group) for peer, priced in one.peers.items()},
        }


def _text(rows: list[dict[str, Any]], accounts: list[tuple[str, Account]], rounds: int) -> str:
    others = list(rows[0]["peers"]) if rows else []
    body = [
        (
            row["list"],
            row["packets"],
            report.ns(row["predicted"]),
            report.ns(row["measured"]),
            f"{row['ratio']:.2f}",
            *("–" if row["peers"][peer] is None else report.ns(row["peers"][peer]) for peer in others),
        )
        for row in rows
    ]
    ratios = [row["ratio"] for row in rows]
    memory = [
        (
            name,
            *(f"{size / 1024:,.0f}" for size in (one.predicted.bytes or 0, one.measured.bytes or 0)),
            *(f"{ms:,.0f}" for ms in (one.predicted.load_ms or 0, one.measured.load_ms or 0)),
        )
        for name, one in accounts
        if one.measured is not None
    ]
    heads = ("rule list", "packets", "predicted, ns", "measured, ns", "ratio", *others)
    return (
        "# Predicted and measured cost of the example policies\n\n"
        "`lockgate cost`: ns a packet, net of a program that answers at once; packets that the program has "
        f"not seen, medians of {rounds} rounds in turns. Predictions come from the plan alone, with numbers "
        f"of the reference machine. Ratios: {min(ratios):.2f} to {max(ratios):.2f}; the limit is {LIMIT:.0f} "
        "times either way. The right columns are the same packets in rules of other filters, as far as those "
        "can say them, without the stack around them.\n\n"
        + report.table(heads, body)
        + "\nMemory of maps and tables, and time to load:\n\n"
        + report.table(("rule list", "predicted, KiB", "KiB", "predicted, ms", "ms"), memory)
    )


if __name__ == "__main__":
    main()
