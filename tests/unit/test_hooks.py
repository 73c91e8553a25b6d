"""The hooks for pre-commit: a sound manifest, entries that run, and stop what must be stopped."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

MANIFEST = Path(__file__).parents[2] / ".pre-commit-hooks.yaml"
HOOKS = {hook["id"]: hook for hook in yaml.safe_load(MANIFEST.read_text())}


def run(hook: str, *files: Path) -> int:
    program, *arguments = shlex.split(HOOKS[hook]["entry"])
    command = [sys.executable, "-m", program, *arguments, *map(str, files)]
    return subprocess.run(command, capture_output=True, cwd=files[0].parent).returncode


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    policy = 'policy {0} at xdp on "eth0" {{\n  default   pass\n  fragments drop\n  drop tcp\n}}\n'
    found = tmp_path / "a.gate", tmp_path / "b.gate"
    for path in found:
        path.write_text(policy.format(path.stem))
    return found


def test_manifest_is_sound() -> None:
    subprocess.run([sys.executable, "-m", "pre_commit", "validate-manifest", str(MANIFEST)], check=True)
    assert set(HOOKS) == {"lockgate-check", "lockgate-fmt"}


def test_check_stops_a_policy_with_errors(files: tuple[Path, Path]) -> None:
    assert run("lockgate-check", *files) == 0
    files[1].write_text(files[1].read_text().replace("drop tcp", "drop tpc"))
    assert run("lockgate-check", *files) == 1


def test_fmt_rewrites(files: tuple[Path, Path]) -> None:
    wanted = files[0].read_text()
    files[0].write_text(wanted.replace("  ", "    "))
    assert run("lockgate-fmt", *files) == 0
    assert files[0].read_text() == wanted
