"""How long a build takes, as a user waits for it: whole commands, each a new process.

    python -m benchmarks.compile_time [--quick]

The figure that is kept is the ratio to the build of a policy of one rule, measured in turns with the others:
it says what rules and prefixes cost, on any machine. `lockgate --help` stands beside `python -c pass`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import policies, report


class Taken(NamedTuple):
    """Seconds of one command: by the clock, and of processors (with those of its own children)."""

    wall: float
    cpu: float


COMMAND = [sys.executable, "-m", "lockgate"]
TRIVIAL = "build, 1 rule"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--results", type=Path, help="folder for the results")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="lg-bench-") as name:
        folder = Path(name)
        builds = {
            TRIVIAL: policies.rules_policy(folder, 1),
            "build, 100 rules": policies.rules_policy(folder, 100),
            "build, 1,000 rules": policies.rules_policy(folder, 1_000),
            "build, 100,000 IPv4 prefixes": policies.list_policy(folder, 100_000),
            "build, 100,000 IPv6 prefixes": policies.list_policy(folder, 100_000, version=6),
        }
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "lockgate --help": [*COMMAND, "--help"],
            **{what: [*COMMAND, "build", str(path)] for what, path in builds.items()},
        }
        seconds = _alternate(commands, 3 if given.quick else 11)
        stages = {what: _stages(path) for what, path in builds.items()}
    base = seconds[TRIVIAL]
    rows = [
        {
            "command": what,
            "seconds_min": min(t.wall for t in taken),
            "seconds_median": statistics.median(t.wall for t in taken),
            "cpu_seconds_min": min(t.cpu for t in taken),
            "ratio_to_trivial": statistics.median(a.wall / b.wall for a, b in zip(taken, base, strict=True)),
        }
        for what, taken in seconds.items()
    ]
    report.publish("compile_time", _text(rows, stages), {"rows": rows, "stages": stages}, given.results)


def _alternate(commands: dict[str, list[str]], rounds: int) -> dict[str, list[Taken]]:
    """Cost of each command in each round; one round before is not counted."""
    found: dict[str, list[Taken]] = {what: [] for what in commands}
    for number in range(rounds + 1):
        for what, command in commands.items():
            taken = _run(command)
            if number:
                found[what].append(taken)
    return found


def _run(command: list[str]) -> Taken:
    """Run a command to its end. ValueError when it fails."""
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    started = time.perf_counter()
    child = os.posix_spawn(command[0], command, _environment(), file_actions=quiet)
    _, status, usage = os.wait4(child, 0)
    if status:
        raise ValueError(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return Taken(time.perf_counter() - started, usage.ru_utime + usage.ru_stime)


def _stages(policy: Path) -> list[tuple[str, float]]:
    """(stage, ms) of one build, as `--time-passes` prints them."""
    command = [*COMMAND, "build", "--time-passes", str(policy)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=_environment())
    rows = [line.split(" ms  ") for line in done.stderr.splitlines() if " ms  " in line]
    return [(stage, float(ms)) for ms, stage in rows if ms.strip().replace(".", "").isdigit()]


def _environment() -> dict[str, str]:
    """Without terminal and colours, which cost time of their own."""
    return {**os.environ, "TERM": "dumb", "NO_COLOR": "1"}


def _text(rows: list[dict[str, Any]], stages: dict[str, list[tuple[str, float]]]) -> str:
    body = [
        (
            r["command"],
            f"{r['seconds_min']:.2f}",
            f"{r['seconds_median']:.2f}",
            f"{r['cpu_seconds_min']:.2f}",
            report.times(r["ratio_to_trivial"]),
        )
        for r in rows
    ]
    text = "# Compile time\n\nSeconds of whole commands, cold processes, in alternating rounds. "
    text += "Processor: the least that both processes of a build took of all cores.\n\n"
    text += report.table(("command", "minimum", "median", "processor", "to one rule"), body)
    text += "\n## Stages, ms\n\nOne build each; `analysis` contains what it asks for first.\n\n"
    names = list(dict.fromkeys(stage for found in stages.values() for stage, _ in found))
    per = {what: dict(found) for what, found in stages.items()}
    table_rows = [
        (name.replace("  ", "· ", 1), *(f"{p[name]:.0f}" if name in p else "" for p in per.values()))
        for name in names
    ]
    return text + report.table(("stage", *(what.removeprefix("build, ") for what in per)), table_rows)


if __name__ == "__main__":
    main()
