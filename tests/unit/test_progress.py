"""What a terminal shows while a long compilation runs, and that nothing else ever shows it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lockgate.compiler import progress
from lockgate.compiler.driver import Session
from lockgate.compiler.source import Source

POLICY = (
    'network many = file "many.txt"\n'
    'policy edge at xdp on "eth0" { default pass  fragments first-only  drop from many }\n'
)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    (tmp_path / "many.txt").write_text("".join(f"10.{i >> 8}.{i & 255}.0/24\n" for i in range(60_000)))
    path = tmp_path / "p.gate"
    path.write_text(POLICY)
    return path


def on_a_terminal(policy: Path, soon_s: float, command: str) -> str:
    """What a command writes to a terminal, as text."""
    parent, child = pty.openpty()
    code = "import sys, lockgate.compiler.progress as p; p.SOON_S = float(sys.argv.pop(1))\n"
    code += "from lockgate.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(soon_s), command, str(policy)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=child,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "200"},
    )
    os.close(child)
    shown = b""
    try:
        while piece := os.read(parent, 65536):
            shown += piece
    except OSError:  # the other end is closed
        pass
    os.close(parent)
    assert process.wait(60) == 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())


def test_a_long_compilation_says_which_file_and_which_stage(policy: Path) -> None:
    shown = on_a_terminal(policy, 0.0, "build")
    wanted = r"reading \S*many\.txt: line [\d,]+ of 60,001|compiling \S*p\.gate: [a-z]+"
    assert re.search(wanted, shown)  # which of them depends on when the line is drawn anew
    assert "p.bundle: 1 rule list" in shown


def test_a_short_one_says_nothing(policy: Path) -> None:
    assert on_a_terminal(policy, 60.0, "check") == ""


def test_nothing_is_shown_elsewhere(policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SOON_S", 0.0)
    command = [sys.executable, "-m", "lockgate", "check", str(policy)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert done.stdout == done.stderr == b""
    session = Session(policy)
    with progress.progress(session):
        assert session.begun is None


def test_the_session_says_what_it_does_and_how_far_it_has_read(policy: Path) -> None:
    begun: list[str] = []
    read: list[tuple[str, int]] = []
    session = Session(policy, begun=begun.append)
    session.sink.reached = lambda source, offset: read.append((source.name, offset))
    with session:
        session.analyse()
    assert begun[0] == "policy"
    stages = ["match edge", "passes edge", "plan edge", "analysis edge", "budget edge"]
    assert set(stages) <= set(begun)
    offsets = [offset for name, offset in read if name == "many.txt"]
    assert offsets == sorted(offsets) and len(offsets) > 10
    assert offsets[-1] == len((policy.parent / "many.txt").read_text())


def test_a_line_counts_lines_and_returns_to_the_stage() -> None:
    line = progress._Line("compiling p.gate")
    source = Source("list[1].txt", "a\n" * 2_000)
    line.stage("policy")
    for offset, expected in ((0, "1"), (1_000, "501"), (3_000, "1,501")):
        line.reading(source, offset)
        assert line.text == f"reading list[1].txt: line {expected} of 2,001"
    line.reading(source, 4_000)
    assert line.text == "compiling p.gate: policy"


def test_a_long_policy_says_how_far_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "p.gate"
    rules = "".join(f"  drop udp to port {port}\n" for port in range(1, 3_000))
    path.write_text(f'policy edge at xdp on "eth0" {{ default pass  fragments first-only\n{rules}}}\n')
    read: list[int] = []
    session = Session(path)
    remember: Callable[[Source, int], None] = lambda source, offset: read.append(offset)  # noqa: E731
    session.sink.reached = remember
    with session:
        assert len(session.unit.chains[0].rules) == 2_999
    assert read == sorted(read) and len(read) > 2 and read[-1] == len(path.read_text())
