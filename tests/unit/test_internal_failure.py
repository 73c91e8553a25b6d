"""A bug of ours: it says so, names the stage, exits with 70, leaves an archive; no text of Python."""

import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lockgate.compiler import driver
from lockgate.compiler.match import passes
from lockgate.compiler.match.ir import MatchProgram
from lockgate.compiler.pipeline import Pass, Pipeline
from lockgate.compiler.plan.ir import DEFAULT, Leaf
from tests.unit.test_cli import run

POLICY = """network x = file "lists/a.txt"
policy edge at xdp on "eth0" {
  default pass  fragments first-only
  drop from x
  drop udp
}
"""
FOREIGN = ("Traceback", "Error", "Exception", "planted", "lark", "LLVM", "llvmlite", ".py", "site-packages")


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    (home / "work" / "lists").mkdir(parents=True)
    (home / "work" / "edge.gate").write_text(POLICY)
    (home / "work" / "lists" / "a.txt").write_text("10.0.0.0/8\n")
    (tmp_path / "tmp").mkdir()
    monkeypatch.chdir(home / "work")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return home / "work" / "edge.gate"


def failing(
    policy: Path, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[str, dict[str, str]]:
    """What is said, and the archive's members."""
    assert run(*arguments) == 70
    said = capsys.readouterr().err
    (archive,) = (policy.parents[2] / "tmp").glob("lockgate-bug-*.zip")
    assert str(archive) in said
    for word in FOREIGN:
        assert word not in said.replace(str(archive), ""), word
    assert "error[E9901]: internal error in" in said and "this is a bug in lockgate" in said
    with zipfile.ZipFile(archive) as members:
        found = {name: members.read(name).decode() for name in members.namelist()}
    for name, text in found.items():
        assert str(policy.parents[1]) not in text and str(Path(driver.__file__).parents[1]) not in text, name
    return said, found


def broken_pass(wrong: Callable[[object], object]) -> Pipeline:
    first = passes.PASSES[0]
    return Pipeline(driver.MATCH, [Pass(first.name, wrong, first.ir, first.after, first.doc)])


def test_a_pass_that_breaks_its_program(
    policy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(program):
        return replace(program, rules=())

    monkeypatch.setattr(driver, "MATCH_PIPELINE", broken_pass(wrong))
    said, members = failing(policy, capsys, "build", policy)
    assert f"in stage `passes edge`, pass `{passes.PASSES[0].name}`\n" in said
    assert members["inputs/edge.gate"] == POLICY
    assert members["inputs/lists/a.txt"] == "10.0.0.0/8\n"
    assert members["command.txt"] == "lockgate build ./edge.gate\n"
    assert "PassBroken" in members["traceback.txt"]
    assert members["before.txt"] and members["after.txt"]
    assert re.match(r"lockgate \d+\.\d+\.\d+\nPython 3\.\d+", members["versions.txt"])


def test_a_pass_that_raises(
    policy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(program):
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(driver, "MATCH_PIPELINE", broken_pass(wrong))
    said, members = failing(policy, capsys, "build", "edge.gate")
    assert f"pass `{passes.PASSES[0].name}`" in said
    assert "planted" in members["traceback.txt"] and "before.txt" in members


def test_code_that_llvm_refuses(
    policy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "render_bpf", lambda items: "define i32 @f() { ret i64 0 }")
    said, members = failing(policy, capsys, "build", "edge.gate")
    assert "in stage `llvm edge`" in said
    assert "LlvmError" in members["traceback.txt"]


def test_a_failure_outside_any_stage(
    policy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: object) -> None:
        raise KeyError("planted")

    monkeypatch.setattr("lockgate.compiler.render.human.write", wrong)
    monkeypatch.setattr("lockgate.compiler.cli.report", wrong)
    said, members = failing(policy, capsys, "check", "edge.gate")
    assert "in command `check`" in said and members["inputs/edge.gate"] == POLICY


def test_it_is_said_in_the_form_that_was_asked_for(
    policy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: object, **__: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(driver, "lower_match", wrong)
    assert run("check", "edge.gate", "--message-format=json") == 70
    (found,) = json.loads(capsys.readouterr().err)
    assert found["code"] == "E9901" and "planted" not in str(found)


def without_the_last(program: MatchProgram) -> MatchProgram:
    return replace(program, matches=program.matches[:-1])


def test_a_pass_that_changes_the_meaning(
    policy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "MATCH_PIPELINE", broken_pass(without_the_last))
    assert run("build", policy) == 0, "nobody looked"
    capsys.readouterr()
    said, members = failing(policy, capsys, "build", policy, "--validate")
    assert f"in stage `passes edge`, pass `{passes.PASSES[0].name}`\n" in said
    shown = (
        "expect drop udp from 192.0.2.1 port 40000 to 198.51.100.1 port 80 by edge.gate:5; "
        "it became pass by default, was drop by edge.gate:5"
    )
    assert shown in said and members["witness.txt"] == shown
    assert members["before.txt"].startswith("matches") and members["after.txt"].startswith("matches")


def test_a_planner_that_changes_the_meaning(
    policy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = driver.Session._planned
    monkeypatch.setattr(
        driver.Session,
        "_planned",
        lambda session, chain, goal: replace(
            right(session, chain, goal), nodes=(Leaf(DEFAULT),), tables=(), classifiers=()
        ),
    )
    said, members = failing(policy, capsys, "build", policy, "--validate")
    assert "in stage `plan edge`\n" in said
    assert "it became pass by default, was drop by edge.gate:4" in members["witness.txt"]
    assert members["witness.txt"] in said and members["after.txt"].startswith("plan")
