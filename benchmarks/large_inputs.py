"""Large inputs: what time and memory `check`, `build` and loading take as prefixes, rules and files grow.

    python -m benchmarks.large_inputs [--quick]

Whole commands, each a new process. Memory is the sum of the largest resident sizes (VmHWM) of the command and
of its worker, so it bounds what both took at any one time; `ru_maxrss` would not do, since a new process
inherits that of the one that made it. What is kept besides is the exponent of growth between two sizes, of
processor time beyond that of a policy of one rule: 1 is linear, 2 quadratic. Loading is from a bundle's bytes
to programs that can be attached, in this process; its memory is what the kernel charges for maps. Needs root.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lockgate.runtime import bundle, loader, plan

from . import curves, harness, policies, report

COMMAND = [sys.executable, "-m", "lockgate"]
SAMPLE_S = 0.01
LIMIT_S = 600
LONG_S = 20
LOAD = "load"  # no command of ours; what `up` does before it attaches
COMMANDS = ("check", "build", LOAD, "test")
SHORT_S = 0.1  # what is shorter says nothing of growth
PREFIXES = (10_000, 100_000, 1_000_000)
RULES = (1_000, 10_000, 100_000)
FILES = (10, 100, 1_000)
LINES = 100  # of each of many files
REFUSED = 1  # exit code: the policy has errors


class Taken(NamedTuple):
    """One command: seconds by the clock, and of processors (with those of its worker), MiB, exit code."""

    seconds: float
    cpu_s: float
    mib: float
    code: int


class Input(NamedTuple):
    """A policy in one of its sizes. `commands`: what is run with it."""

    kind: str
    size: int
    policy: Path
    commands: tuple[str, ...] = COMMANDS[:3]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="without the largest size, one round")
    parser.add_argument("--results", type=Path, help="folder for the results")
    given = parser.parse_args(arguments)
    rounds = 1 if given.quick else 3
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="lg-bench-") as name:
        folder = Path(name)
        trivial = Input("one rule", 1, policies.rules_policy(folder, 1))
        known = [command for command in COMMANDS if command != LOAD or harness.possible()]
        base = {command: _best(command, trivial, rounds) for command in known}
        for one in inputs(folder, 2 if given.quick else 3):
            for command in one.commands:
                if command not in known or (command == LOAD and rows[-1]["refused"]):
                    continue
                taken = _best(command, one, rounds)
                rows.append(_row(one, command, taken, base[command], rows))
                print(f"{one.kind}, {one.size:,}: {command} {taken.seconds:.2f} s", file=sys.stderr)
    data = {"rows": rows, "one_rule": {command: taken._asdict() for command, taken in base.items()}}
    report.publish("large_inputs", _text(rows, base, rounds), data, given.results)
    curves.draw("large_inputs", "entries, rules or files", "seconds", _lines(rows), given.results)


def inputs(folder: Path, sizes: int) -> Iterator[Input]:
    """Every policy that is measured, small ones first within a kind; written when it is its turn."""
    for kind, lines in LISTS.items():
        for size in PREFIXES[:sizes]:
            yield Input(kind, size, policies.file_policy(folder, [lines(size)]))
    for size in RULES[:sizes]:
        policy = policies.rules_policy(folder, size)
        _expect(policy)
        yield Input("rules", size, policy, COMMANDS)
    for size in FILES[:sizes]:
        entries = policies.text_of(policies.prefixes(size * LINES)).splitlines(keepends=True)
        parts = ["".join(entries[i::size]) for i in range(size)]
        yield Input(f"files of {LINES} lines", size, policies.file_policy(folder, parts))


def _hosts(count: int) -> str:
    draw = random.Random(f"hosts {policies.SEED}")
    hosts = draw.sample(range(*policies.UNICAST4), count)
    return policies.text_of([(host, 32) for host in hosts]).replace("/32", "")


def _mixed(count: int) -> str:
    halves = [policies.text_of(policies.prefixes(count // 2, v), v).splitlines(keepends=True) for v in (4, 6)]
    lines = halves[0] + halves[1]
    random.Random(f"mixed {policies.SEED}").shuffle(lines)
    return "".join(lines)


LISTS: dict[str, Callable[[int], str]] = {
    "IPv4 prefixes": lambda count: policies.text_of(policies.prefixes(count)),
    "IPv4 hosts": _hosts,
    "IPv6 prefixes": lambda count: policies.text_of(policies.prefixes(count, 6), 6),
    "mixed prefixes": _mixed,
}


def _expect(policy: Path) -> None:
    """Add an expectation that no rule decides, so that `test` goes through all of them."""
    text = 'test "all rules" of edge {\n  expect pass icmp from 192.0.2.1 to 192.0.2.2 by default\n}\n'
    policy.write_text(policy.read_text() + "\n" + text)


def _best(command: str, one: Input, rounds: int) -> Taken:
    """The quickest of some runs, with the largest memory of all; long ones run once."""
    taken = [_run(command, one.policy)]
    while len(taken) < rounds and taken[0].seconds < LONG_S:
        taken.append(_run(command, one.policy))
    least = [min(figures) for figures in zip(*((t.seconds, t.cpu_s) for t in taken), strict=True)]
    return Taken(*least, max(t.mib for t in taken), taken[0].code)


def _load(policy: Path) -> Taken:
    """Load what `build` wrote, and let it go."""
    began = time.perf_counter(), time.process_time()
    loading = plan.make(bundle.parse(policy.with_suffix(".bundle").read_bytes()))
    with loader.load(loading) as loaded:
        seconds, cpu_s = time.perf_counter() - began[0], time.process_time() - began[1]
        return Taken(seconds, cpu_s, harness.map_bytes(loaded.maps) / 2**20, 0)


def _run(command: str, policy: Path) -> Taken:
    """Run a command to its end. ValueError when it fails in another way than by refusing the policy."""
    if command == LOAD:
        return _load(policy)
    words = [*COMMAND, command, str(policy)]
    if command == "test":
        words += ["--engine", "interp"]
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    started = time.perf_counter()
    child = os.posix_spawn(words[0], words, os.environ, file_actions=quiet)
    peaks: dict[int, int] = {}
    while not (done := os.wait4(child, os.WNOHANG))[0]:
        for pid in (child, *_children(child)):
            peaks[pid] = max(peaks.get(pid, 0), _peak_kib(pid))
        if time.perf_counter() - started > LIMIT_S:
            os.kill(child, signal.SIGKILL)
        time.sleep(SAMPLE_S)
    seconds = time.perf_counter() - started
    code = os.waitstatus_to_exitcode(done[1])
    if code not in (0, REFUSED):
        raise ValueError(f"{' '.join(words)} ended with {code}")
    return Taken(seconds, done[2].ru_utime + done[2].ru_stime, sum(peaks.values()) / 1024, code)


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _peak_kib(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)


def _row(one: Input, command: str, taken: Taken, base: Taken, before: list[dict[str, Any]]) -> dict[str, Any]:
    own = taken.cpu_s - base.cpu_s
    same = [r for r in before if (r["kind"], r["command"]) == (one.kind, command) and r["own_s"] > SHORT_S]
    exponent = None
    if same and own > 0:
        exponent = math.log(own / same[-1]["own_s"]) / math.log(one.size / same[-1]["size"])
    return {
        "kind": one.kind,
        "size": one.size,
        "command": command,
        "seconds": taken.seconds,
        "cpu_s": taken.cpu_s,
        "own_s": own,
        "mib": taken.mib,
        "refused": taken.code == REFUSED,
        "exponent": exponent,
    }


def _lines(rows: list[dict[str, Any]]) -> curves.Panels:
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in rows:
        lines = panels.setdefault(row["command"], {})
        lines.setdefault(row["kind"], []).append((row["size"], row["seconds"]))
    return panels


def _text(rows: list[dict[str, Any]], base: dict[str, Taken], rounds: int) -> str:
    body = [
        (
            f"{r['kind']}, {r['size']:,}",
            r["command"] + (" (refused)" if r["refused"] else ""),
            f"{r['seconds']:.2f}",
            f"{r['cpu_s']:.2f}",
            f"{r['mib']:,.0f}",
            "" if r["exponent"] is None else f"{r['exponent']:.2f}",
        )
        for r in rows
    ]
    for name, t in reversed(base.items()):
        body.insert(0, ("one rule", name, f"{t.seconds:.2f}", f"{t.cpu_s:.2f}", f"{t.mib:,.0f}", ""))
    return (
        "# Large inputs\n\n"
        f"Whole commands, cold processes: the least time of {rounds} (above {LONG_S} s, of one), by the clock"
        " and of processors, and the largest memory, that of both processes of a build together. Growth: "
        "exponent from the size before, of processor time beyond that of one rule; 1 is linear.\n\n"
        + report.table(("input", "command", "seconds", "processor", "MiB", "growth"), body)
    )


if __name__ == "__main__":
    main()
