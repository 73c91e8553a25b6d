"""The command `lockgate`: quick help, lazy halves, exit codes, and a host without the compiler."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from lockgate import cli
from lockgate.runtime import cli as runtime_cli

ROOT = Path(__file__).resolve().parents[2]


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, cwd=ROOT
    )


# stands for an installation without the extra `compiler`
WITHOUT = """
import importlib.abc, importlib.util, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("lark", "llvmlite", "dpkt", "numpy"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name in ("lark", "llvmlite", "numpy") else real(name, *a)
from lockgate.cli import main
main()
"""


def test_help_is_quick_and_imports_neither_half() -> None:
    code = (
        "import sys\nfrom lockgate.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in sys.modules if m.startswith(('lockgate.', 'rich', 'pyroute2', 'llvmlite'))])"
    )
    best = 9.0
    for _ in range(3):
        started = time.perf_counter()
        done = _python(code)
        best = min(best, time.perf_counter() - started)
    assert done.stdout.rstrip().endswith("['lockgate.cli']"), done.stdout
    assert best < 0.3 * 2, "twice the budget: this machine may be busy"


def test_checking_does_not_load_what_only_builders_need() -> None:
    code = (
        "import sys\nfrom lockgate.cli import main\n"
        "try: main(['check', 'examples/host/policy.gate'])\nexcept SystemExit: pass\n"
        "print('lockgate.compiler.plan.lower' in sys.modules, 'numpy.linalg' in sys.modules)"
    )
    assert _python(code).stdout.split() == ["True", "False"]


def test_every_runtime_command_is_in_the_table() -> None:
    mine = {name for name, (module, _) in cli.COMMANDS.items() if module == cli.RUNTIME}
    assert mine == set(runtime_cli.COMMANDS)


@pytest.mark.parametrize("name", sorted(runtime_cli.COMMANDS))
def test_commands_have_help_and_output_json(name: str) -> None:
    command = runtime_cli.COMMANDS[name]
    assert command.help
    leaves = command.commands.values() if isinstance(command, click.Group) else [command]
    for leaf in leaves:
        assert leaf.help
        assert {"output", "bpffs"} <= {p.name for p in leaf.params}, leaf.name


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--help"], 0, ""),
        (["--version"], 0, ""),
        (["statsu"], 2, "did you mean `status`?"),
        (["up"], 2, "error: missing argument `FILE`\n  = help: lockgate up --help"),
        (["check", "--fx", "x"], 2, "; did you mean `--diff`, `--fix`?\n  = help: lockgate check --help\n"),
        (["build", "x", "--skip", "y"], 2, "error: invalid value for `--skip`: `y` is not one of `merge_"),
        (["set"], 2, "Commands:\n  add "),
        (["down"], 2, "name a policy, or give --all"),
        (["up", "/nowhere/edge.bundle"], 2, "E0906"),
        (["up", "--bpffs", "/", "/etc/passwd"], 2, "it is no lockgate bundle"),
        (["status", "--bpffs", "/"], 3, "E0902"),
        (["set", "add", "bans", "10.0.0.1/8"], 2, "E0911"),
    ],
)
def test_exit_codes(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == code
    assert says in capsys.readouterr().err


def test_a_bug_of_ours_is_called_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # what it reports goes there

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("lockgate.runtime.running.everything", broken)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["status"])
    assert stopped.value.code == 70
    assert "this is a bug in lockgate" in capsys.readouterr().err


def test_errors_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    with pytest.raises(SystemExit):
        cli.main(["status", "--bpffs", "/", "--output", "json"])
    assert json.loads(capsys.readouterr().err)["code"] == "E0902"


def test_without_the_compiler_the_runtime_works() -> None:
    done = _python(WITHOUT, "status", "--bpffs", "/")
    assert done.returncode == 3
    assert "E0902" in done.stderr
    assert _python(WITHOUT, "--help").returncode == 0


def test_without_the_compiler_its_commands_say_what_to_install(tmp_path: Path) -> None:
    policy = tmp_path / "edge.gate"
    policy.write_text('policy edge at xdp on "lo" { default pass  fragments first-only }\n')
    for arguments in (["build", str(policy)], ["up", str(policy)]):
        done = _python(WITHOUT, *arguments)
        assert done.returncode == 2, done.stderr
        assert "pip install 'lockgate[compiler]'" in done.stderr


def test_the_rooms_with_danger_keep_it_to_themselves() -> None:
    """ctypes and mmap only in runtime/sys, pyroute2 only in runtime/netlink.py, click only where commands are
    and in show."""
    allowed = {
        "ctypes": lambda p: p.parent.name == "sys",
        "mmap": lambda p: p.parent.name == "sys",
        "pyroute2": lambda p: p.name == "netlink.py",
        "click": lambda p: p.name.endswith("cli.py") or p.name in ("options.py", "show.py"),
        "elftools": lambda p: p.name == "elf.py",
    }
    for path in (ROOT / "runtime").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in names:
                top = name.partition(".")[0]
                assert top not in allowed or allowed[top](path), f"{path} imports {name}"
                assert not name.startswith(("lockgate.compiler", "lark", "llvmlite")), (
                    f"{path} imports {name}"
                )
