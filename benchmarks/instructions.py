"""Exact numbers of generated programs: no clock, so any change is a change of the compiler.

    python -m benchmarks.instructions [--quick]

`verified`: instructions that the kernel's verifier went through on all ways (it gives up at a million);
`insns`: the program's size after it; `maps`: memory the kernel charges. Plan nodes and bundle are known
without a kernel too.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lockgate.compiler.driver import Session
from lockgate.runtime import bundle, loader, plan

from . import harness, policies, report

RULES = (1, 10, 100, 1_000)
PREFIXES = ((4, 100), (4, 1_000), (4, 100_000), (6, 1_000), (6, 100_000))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the same; for `run`")
    parser.add_argument("--results", type=Path, help="folder for the results")
    given = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="lg-bench-") as folder:
        for count in RULES:
            rows.append(
                {"policy": f"{count:,} rules", **_numbers(policies.rules_policy(Path(folder), count))}
            )
        for version, count in PREFIXES:
            path = policies.list_policy(Path(folder), count, version)
            rows.append({"policy": f"{count:,} IPv{version} prefixes", **_numbers(path)})
    columns = ("nodes", "bundle_bytes", "verified", "insns", "jited_bytes", "map_bytes")
    body = [(r["policy"], *(f"{r[c]:,}" if c in r else "" for c in columns)) for r in rows]
    heads = ("policy", "plan nodes", "bundle, B", "verified", "insns", "machine code, B", "maps, B")
    text = "# Programs\n\nThe same on every machine with the same kernel.\n\n" + report.table(heads, body)
    report.publish("instructions", text, {"rows": rows}, given.results)


def _numbers(path: Path) -> dict[str, int]:
    with Session(path) as session:
        session.prepare()
        session.analyse()
        data = session.bundle()
        found = {"nodes": len(session.plan(session.unit.chains[0]).nodes), "bundle_bytes": len(data)}
    if harness.possible():
        with loader.load(plan.make(bundle.parse(data))) as loaded:
            (program,) = loaded.programs.values()
            found |= harness.program_info(program)
            found["map_bytes"] = harness.map_bytes(loaded.maps)
    return found


if __name__ == "__main__":
    main()
