"""All benchmarks, one after the other, and a summary of what they wrote.

    python -m benchmarks [--quick] [--results DIR] [NAME …]

`--quick` takes under five minutes on two cores, and writes beside the kept results. What a machine cannot
measure is skipped and said.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import (
    balance,
    classes,
    compile_time,
    cost_prediction,
    edge,
    flood,
    flows,
    forwarding,
    importers,
    instructions,
    large_inputs,
    live_sets,
    peers,
    profiled,
    report,
    rule_cost,
    rule_lists,
    structures,
    targets,
)

ALL: dict[str, Callable[[Sequence[str]], None]] = {
    "instructions": instructions.main,
    "compile_time": compile_time.main,
    "large_inputs": large_inputs.main,
    "importers": importers.main,
    "structures": structures.main,
    "classes": classes.main,
    "rule_cost": rule_cost.main,
    "rule_lists": rule_lists.main,
    "flood": flood.main,
    "flows": flows.main,
    "forwarding": forwarding.main,
    "profiled": profiled.main,
    "peers": peers.main,
    "live_sets": live_sets.main,
    "edge": edge.main,
    "balance": balance.main,
    "cost_prediction": cost_prediction.main,
    "targets": targets.main,  # last: of the others' results
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)}; all by default")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and sizes")
    parser.add_argument("--results", type=Path, help="folder for the results")
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - set(ALL):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    folder = given.results or (report.QUICK if given.quick else report.RESULTS)
    passed = [*(["--quick"] if given.quick else []), "--results", str(folder)]
    for name in given.names or ALL:
        began = time.monotonic()
        print(f"== {name}", flush=True)
        ALL[name](passed)
        print(f"== {name}: {time.monotonic() - began:.0f} s", flush=True)
    print(f"results: {folder}")
