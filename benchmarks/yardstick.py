"""Runs a program of others' making that measures packet filters on the same packets.

It takes engines as `--engine 'NAME=CMD'` and calls `CMD SCENARIO.json PIN`, which is `scenario_engine`. It
checks every verdict before it measures, sends packets in which the address changes, and subtracts what the
same hook costs without a rule.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ENGINE = f"{shlex.quote(sys.executable)} {shlex.quote(str(Path(__file__).parent / 'scenario_engine'))}"


def run(program: Path, arguments: Sequence[str], engines: Mapping[str, str]) -> list[dict[str, Any]]:
    """The figures of one run, a row for each engine and scenario: `engine`, `hook`, `scenario` (kind, name,
    size), `net_hit`, `net_miss`, `e2e` in ns, `load_s`; or `skipped` or `failed` with a reason."""
    with tempfile.TemporaryDirectory(prefix="lg-bench-") as folder:
        out = Path(folder) / "out.json"
        command = [sys.executable, str(program), *arguments, "--out", str(out), "--md", f"{folder}/out.md"]
        for name, engine in engines.items():
            command += ["--engine", f"{name}={engine}"]
        subprocess.run(command, check=True)
        rows: list[dict[str, Any]] = json.loads(out.read_text())["results"]
        return rows
