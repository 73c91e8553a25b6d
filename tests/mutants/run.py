"""Plants each fault in a copy of the sources and sees whether the tests catch it.

    python -m tests.mutants [NAME...]     all faults, or those whose names contain a word

A test suite that passes says something only when it can fail. Stages go from the fastest tests to the law
itself; the first that fails has caught the fault. Ends with 1 when a fault survives, with 2 when one cannot
be planted because the code has moved on: then its row in `faults.py` must follow.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .faults import FAULTS, Fault

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("compiler", "runtime", "grammar", "stdlib_bpf", "src", "tests", "pyproject.toml")
USER_SPACE = "not kernel and not exhaustive"
STAGES = (
    ("file tests", USER_SPACE, ("tests/filetests",)),
    ("file tests, kernel", "kernel", ("tests/filetests",)),
    ("scapy", USER_SPACE, ("tests/properties/test_decode.py", "tests/properties/test_reply.py")),
    ("rules that lead onward", USER_SPACE, ("tests/unit/test_leaps.py", "tests/unit/test_tagging.py")),
    ("the law", USER_SPACE, ("tests/properties/test_law.py",)),
    ("validation", USER_SPACE, ("tests/properties/test_validate.py",)),
    ("dynamic sets", "kernel", ("tests/kernel/test_live_sets.py",)),
    (
        "nftables",
        "kernel and not exhaustive",
        (
            "tests/kernel/test_nftables_target.py",
            "tests/kernel/test_nftables_life.py",
            "tests/kernel/test_nftables_endpoints.py",
        ),
    ),
    ("HNS", USER_SPACE, ("tests/properties/test_hns.py", "tests/properties/test_hns_endpoints.py")),
    ("proxies", "kernel", ("tests/kernel/test_proxy.py",)),
    (
        "services",
        "kernel",
        ("tests/kernel/test_balance.py", "tests/kernel/test_backends.py", "tests/kernel/test_health.py"),
    ),
    ("flows", USER_SPACE, ("tests/unit/test_flows.py", "tests/properties/test_flows.py")),
)
JOBS = 2
LIMIT_S = 300


@dataclass(frozen=True)
class Outcome:
    """`caught_by`: name of the stage, None when the fault survived, "" when it could not be planted."""

    fault: Fault
    caught_by: str | None
    seconds: float
    note: str = ""


def plant(fault: Fault, copy: Path) -> str | None:
    """Put the fault into the copy; why not, when that cannot be done."""
    path = copy / fault.file
    text = path.read_text()
    if (found := text.count(fault.old)) != 1:
        return f"`{fault.old.strip()}` stands in {fault.file} {found} times"
    path.write_text(text.replace(fault.old, fault.new))
    return None


def run_tests(copy: Path, marked: str, tests: tuple[str, ...]) -> tuple[bool, str]:
    """(whether they pass, the last telling line)."""
    environment = {**os.environ, "PYTHONPATH": f"{copy / 'src'}:{copy}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider"]
    command += ["-m", marked, *tests]
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return True, "took too long"  # slow is not caught
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return done.returncode == 0, (failed or done.stdout.splitlines() or [done.stderr.strip()])[-1]


def stages_of(fault: Fault | None) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """The stages, from the one on that comes first for a fault."""
    names = [name for name, _, _ in STAGES]
    return STAGES[names.index(fault.first) if fault is not None and fault.first else 0 :]


def try_fault(fault: Fault | None) -> Outcome:
    """Plant one fault (None: nothing, to see that the copy passes) and run the stages."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lockgate-mutant-") as directory:
        copy = Path(directory)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__", "*.pyc", ".hypothesis")
                shutil.copytree(source, copy / name, symlinks=True, ignore=ignore)
            else:
                shutil.copy(source, copy / name)
        if fault is not None and (why := plant(fault, copy)) is not None:
            return Outcome(fault, "", 0.0, why)
        for stage, marked, tests in stages_of(fault):
            passed, line = run_tests(copy, marked, tests)
            if not passed:
                return Outcome(fault or UNTOUCHED, stage, time.monotonic() - started, line)
    return Outcome(fault or UNTOUCHED, None, time.monotonic() - started)


UNTOUCHED = Fault("nothing planted", "", "", "")


def main(words: list[str]) -> int:
    """Exit code."""
    chosen = [f for f in FAULTS if not words or any(word in f.name for word in words)]
    untouched = try_fault(None)
    if untouched.caught_by is not None:
        print(f"the sources fail their own tests, nothing was planted: {untouched.note}")
        return 2
    survived = lost = 0
    began = time.monotonic()
    with ThreadPoolExecutor(JOBS) as pool:
        for outcome in pool.map(try_fault, chosen):
            if outcome.caught_by:
                answer = f"caught by {outcome.caught_by}"
            elif outcome.caught_by is None:
                answer, survived = "SURVIVED", survived + 1
            else:
                answer, lost = f"NOT PLANTED: {outcome.note}", lost + 1
            print(f"{outcome.fault.name:60} {answer:24} {outcome.seconds:5.1f} s", flush=True)
            if words and outcome.caught_by:
                print(f"    {outcome.note}")
    caught = len(chosen) - survived - lost
    print(f"{len(chosen)} faults: {caught} caught, {survived} survived, {lost} not planted")
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if survived else 2 if lost else 0
