"""`check`: several policies, folders, standard input, forms of messages, and fixes written to files."""

import io
import json
import os
import stat
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.unit import sarif
from tests.unit.test_cli import run

GOOD = 'policy edge at xdp on "eth0" {\n  default pass  fragments first-only\n  drop udp\n}\n'
TYPO = GOOD.replace("drop", "drpo")
UNKNOWN = GOOD.replace("udp", "from nowhere")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOCKGATE_MESSAGE_FORMAT", raising=False)
    return tmp_path


def put(**files: str) -> None:
    for name, text in files.items():
        path = Path(name.replace("__", "/") + ".gate")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def give(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


Captured = pytest.CaptureFixture[str]


# ---- what is checked ----


def test_files_and_folders_are_checked_together(capsys: Captured) -> None:
    put(one=GOOD, all__two=UNKNOWN, all__deep__three=UNKNOWN, all__x=GOOD)
    Path("all/.hidden").mkdir()
    Path("all/.hidden/four.gate").write_text(UNKNOWN)
    assert run("check", "one.gate", "all", "all/two.gate", "--message-format", "concise") == 1
    places = [line.split(": ")[0] for line in capsys.readouterr().err.splitlines()]
    assert places == ["all/deep/three.gate:3:13", "all/two.gate:3:13"]


def test_exit_codes() -> None:
    put(good=GOOD, bad=UNKNOWN, warned="network x = any\n" + GOOD)
    Path("empty").mkdir()
    assert run("check", "good.gate") == 0
    assert run("check", "warned.gate") == 0
    assert run("check", "good.gate", "bad.gate") == 1
    assert run("check", "bad.gate", "missing.gate") == 2
    assert run("check", "empty") == 2
    assert run("check") == 2


def test_standard_input_has_a_name(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    for arguments, name in (((), "<stdin>"), (("--stdin-filename", "a/b.gate"), "a/b.gate")):
        give(monkeypatch, UNKNOWN)
        assert run("check", "-", *arguments) == 1
        assert f"--> {name}:3:13" in capsys.readouterr().err


def test_standard_input_reads_lists_beside_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a").mkdir()
    Path("a/l.txt").write_text("10.0.0.0/8\n")
    give(monkeypatch, 'network x = file "l.txt"\n' + GOOD.replace("udp", "from x"))
    assert run("check", "-", "--stdin-filename", "a/b.gate") == 0


# ---- forms ----


def test_documents_go_to_standard_output(capsys: Captured) -> None:
    put(bad=UNKNOWN, good=GOOD)
    assert run("check", "bad.gate", "--message-format", "sarif") == 1
    log = json.loads(capsys.readouterr().out)
    sarif.check(log)
    assert [r["ruleId"] for r in log["runs"][0]["results"]] == ["E0202"]
    assert run("check", "good.gate", "--message-format", "json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_the_environment_chooses_a_form(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    put(bad=UNKNOWN)
    monkeypatch.setenv("LOCKGATE_MESSAGE_FORMAT", "github")
    assert run("check", "bad.gate") == 1
    assert capsys.readouterr().err.startswith("::error file=bad.gate,line=3,")
    assert run("check", "bad.gate", "--message-format", "concise") == 1
    assert capsys.readouterr().err == "bad.gate:3:13: E0202 network `nowhere` is not defined\n"


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}])
def test_colours_on_a_terminal_only_and_not_where_unwanted(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    put(bad=UNKNOWN)
    run("check", "bad.gate")
    assert "\x1b" not in capsys.readouterr().err
    import pty
    import subprocess

    parent, child = pty.openpty()
    env = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm"} | environment
    command = [sys.executable, "-m", "lockgate", "check", "bad.gate"]
    subprocess.run(command, stderr=child, stdout=subprocess.DEVNULL, env=env, timeout=60)
    os.close(child)
    shown = os.read(parent, 65536).decode()
    os.close(parent)
    message = shown[max(0, shown.index("error") - 10) :]
    assert ("\x1b[31m" in message) == (not environment)


# ---- fixes ----


def test_fix_writes_what_is_sure_and_says_so(capsys: Captured) -> None:
    put(p=TYPO.replace("drpo udp", "drpo udp\n  drop from 10.0.0.1/8"))
    Path("p.gate").chmod(0o640)
    assert run("check", "--fix", "p.gate") == 1
    said = capsys.readouterr().err
    assert "mended p.gate:3:3: E0101 `drpo` is now `drop`\n" in said and "E0204" in said
    assert Path("p.gate").read_text() == TYPO.replace("drpo udp", "drop udp\n  drop from 10.0.0.1/8")
    assert stat.S_IMODE(Path("p.gate").stat().st_mode) == 0o640
    assert [p.name for p in Path().iterdir()] == ["p.gate"]
    assert run("check", "--unsafe-fixes", "p.gate") == 0
    assert "from 10.0.0.0/8" in Path("p.gate").read_text()


def test_diff_writes_nothing(capsys: Captured) -> None:
    put(p=TYPO)
    assert run("check", "--fix", "--diff", "p.gate") == 1
    out = capsys.readouterr().out
    assert out == (
        "--- p.gate\n+++ p.gate\n@@ -1,4 +1,4 @@\n"
        ' policy edge at xdp on "eth0" {\n   default pass  fragments first-only\n'
        "-  drpo udp\n+  drop udp\n }\n"
    )
    assert Path("p.gate").read_text() == TYPO
    put(p=GOOD)
    assert run("check", "--diff", "p.gate") == 0
    assert capsys.readouterr().out == ""


def test_mended_standard_input_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    give(monkeypatch, TYPO)
    assert run("check", "--fix", "-") == 0
    assert capsys.readouterr().out == GOOD


def test_fixes_reach_the_files_that_a_policy_reads() -> None:
    put(p='network x = file "l.txt"\n' + GOOD.replace("udp", "from x"))
    Path("l.txt").write_bytes("\ufeff::ffff:10.0.0.1\r\n2001:db8::/32\r\n".encode())
    assert run("check", "--fix", "p.gate") == 0
    assert Path("l.txt").read_bytes() == "\ufeff10.0.0.1\r\n2001:db8::/32\r\n".encode()


def test_messages_say_that_something_can_be_mended(capsys: Captured) -> None:
    put(p=TYPO, q=UNKNOWN)
    run("check", "p.gate", "q.gate")
    assert capsys.readouterr().err.endswith("\n1 of these can be mended: lockgate check --fix\n")


# ---- junit ----

TESTS = """
test "holds" of edge { expect drop udp }
test "fails <&> \x1b" of edge { expect pass udp expect pass arp }
"""


def test_junit_can_be_read_back(capsys: Captured) -> None:
    put(all__p=GOOD + TESTS, all__q=UNKNOWN + TESTS, all__r=GOOD)
    assert run("test", "all", "--engine", "interp", "--engine", "native", "--output", "junit") == 1
    root = ElementTree.fromstring(capsys.readouterr().out)
    p, q, r = root.findall("testsuite")
    counts = [[s.get(k) for k in ("name", "tests", "failures", "errors")] for s in (p, q, r)]
    assert counts == [
        ["all/p.gate", "2", "1", "0"],
        ["all/q.gate", "1", "0", "1"],
        ["all/r.gate", "0", "0", "0"],
    ]
    holds, fails = p.findall("testcase")
    assert holds.get("name") == "holds" and list(holds) == []
    assert fails.get("name") == "fails <&> \ufffd"
    (failure,) = fails
    assert failure.tag == "failure" and failure.get("type") == "E0690"
    assert (
        failure.text and "expected `pass`, got `drop`" in failure.text and "--> all/p.gate:" in failure.text
    )
    (error,) = q.findall("testcase/error")
    assert error.get("type") == "E0202"


# ---- completion ----


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("check --message-format ", ["human", "concise", "json", "sarif", "github"]),
        ("check --f", ["--fix"]),
        ("test --output ", ["human", "json", "junit"]),
    ],
)
def test_the_shell_completes(words: str, offered: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    given = ["lockgate", *words.split(" ")]
    env = os.environ | {
        "_LOCKGATE_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(given),
        "COMP_CWORD": str(len(given) - 1),
    }
    command = [str(Path(sys.executable).with_name("lockgate"))]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == offered
