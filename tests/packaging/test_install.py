"""What is installed where: a host that applies bundles needs neither lark nor LLVM; a wheel is complete."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockgate.compiler.driver import build_bundle
from tests import netns

ROOT = Path(__file__).parents[2]
# What the runtime declares, and what those packages need in turn.
RUNTIME_PACKAGES = ("click", "elftools", "pyroute2", "rich", "markdown_it", "mdurl", "pygments")
COMPILER_PACKAGES = ("lark", "llvmlite", "dpkt", "numpy")
POLICY = """policy small at xdp on "{device}" {{
  default pass  fragments first-only
  listed: drop from 10.0.0.0/8
}}
"""


def run(*command: str | Path, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command outside the checkout, with a clean environment."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [str(c) for c in command],
        capture_output=True,
        text=True,
        timeout=300,
        cwd="/",
        env=kept | environment,
    )
    assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A small bundle, compiled here."""
    policy = tmp_path / "small.gate"
    policy.write_text(POLICY.format(device="lan0"))
    path = tmp_path / "small.bundle"
    path.write_bytes(build_bundle(policy))
    return path


# ---- quick: only the runtime's packages are in sight ----


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a Python that sees lockgate and what its runtime declares, nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    for name in RUNTIME_PACKAGES:
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        (folder / name).symlink_to(Path(spec.origin).parent)
    (folder / "lockgate").symlink_to(ROOT / "src" / "lockgate")
    yield {"PYTHONPATH": str(folder)}


def lockgate_bare(
    bare: dict[str, str], *arguments: str | Path, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """The command without site-packages (`-S`)."""
    code = "from lockgate.cli import main; main()"
    return run(sys.executable, "-S", "-c", code, *arguments, check=check, **bare)


def test_the_bare_environment_is_bare(bare: dict[str, str]) -> None:
    for name in COMPILER_PACKAGES:
        done = run(sys.executable, "-S", "-c", f"import {name}", check=False, **bare)
        assert "ModuleNotFoundError" in done.stderr


def test_a_bundle_is_inspected_without_the_compiler(bare: dict[str, str], bundle: Path) -> None:
    out = lockgate_bare(bare, "up", "--dry-run", bundle).stdout
    assert "attach small:small at xdp of lan0" in out
    assert "E0204" in lockgate_bare(bare, "explain", "E0204").stdout


@pytest.mark.parametrize("command", ["build", "check", "test", "eval", "demo", "up"])
def test_commands_of_the_compiler_name_the_extra(bare: dict[str, str], tmp_path: Path, command: str) -> None:
    policy = tmp_path / "small.gate"
    policy.write_text(POLICY.format(device="lan0"))
    arguments = [policy] if command != "demo" else []
    done = lockgate_bare(bare, command, *arguments, check=False)
    assert done.returncode == 2
    assert "pip install 'lockgate[compiler]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.kernel
def test_a_bundle_runs_without_the_compiler(
    bare: dict[str, str], bundle: Path, bpffs: Path, pair: netns.Pair
) -> None:
    where = ("--bpffs", bpffs)
    assert "nothing is loaded" in lockgate_bare(bare, "status", *where).stdout
    assert "attached" in lockgate_bare(bare, "up", bundle, "--netns", pair.inner, *where).stdout
    assert "lan0" in lockgate_bare(bare, "status", *where).stdout
    assert "listed" in lockgate_bare(bare, "counters", *where).stdout
    assert "1 link detached" in lockgate_bare(bare, "down", "small", *where).stdout


# ---- slow: from sdist to wheel to a fresh virtual environment ----


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """(sdist, wheel, Python of a fresh environment that has neither lockgate nor its extras)."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    ignored = (".git", ".venv*", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, source, symlinks=True, ignore=shutil.ignore_patterns(*ignored))
    python = folder / "venv" / "bin" / "python"
    run(sys.executable, "-m", "venv", folder / "venv")
    installed = run(python, "-m", "pip", "install", "-q", "setuptools>=77", check=False)
    if installed.returncode:
        pytest.skip(f"no package registry in reach: {installed.stderr.strip().splitlines()[-1]}")
    for what in ("sdist", "wheel"):
        code = f"from setuptools import build_meta; build_meta.build_{what}({str(folder)!r})"
        subprocess.run([python, "-c", code], cwd=source, check=True, capture_output=True, timeout=300)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel, python


@pytest.mark.xdist_group("install")
def test_sdist_and_wheel_have_all_files(built: tuple[Path, Path, Path]) -> None:
    sdist, wheel, _ = built
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    code = [
        p.relative_to(ROOT)
        for room in ("compiler", "runtime", "stdlib_bpf")
        for p in (ROOT / room).rglob("*.py")
    ]
    data = [
        "grammar/policy.lark",
        "grammar/lexical.lark",
        "examples/edge/policy.gate",
        "examples/edge/blocklist.txt",
        "examples/gateway/common.gate",
        "stdlib_bpf/prelude/services.gate",
        "stdlib_bpf/prelude/addresses.gate",
    ]
    wanted = {f"lockgate/{path}" for path in (*code, *data)} | {"lockgate/py.typed"}
    assert wanted <= in_wheel, sorted(wanted - in_wheel)
    assert {f"src/{path}" for path in wanted} <= in_sdist
    assert any(name.endswith("licenses/LICENSE") for name in in_wheel)


@pytest.mark.xdist_group("install")
def test_a_fresh_environment_applies_bundles(built: tuple[Path, Path, Path], bundle: Path) -> None:
    _, wheel, python = built
    run(python, "-m", "pip", "install", "-q", wheel)
    listed = run(python, "-m", "pip", "list", "--format=freeze").stdout.lower()
    assert not [name for name in COMPILER_PACKAGES if name in listed]
    lockgate = python.parent / "lockgate"
    assert "attach small:small at xdp of lan0" in run(lockgate, "up", "--dry-run", bundle).stdout
    refused = run(lockgate, "build", bundle.with_suffix(".gate"), check=False)
    assert refused.returncode == 2
    assert "pip install 'lockgate[compiler]'" in refused.stderr


@pytest.mark.kernel
@pytest.mark.xdist_group("install")
def test_a_fresh_environment_runs_bundles(
    built: tuple[Path, Path, Path], bundle: Path, bpffs: Path, pair: netns.Pair
) -> None:
    _, wheel, python = built
    run(python, "-m", "pip", "install", "-q", wheel)
    lockgate, where = python.parent / "lockgate", ("--bpffs", bpffs)
    assert "attached" in run(lockgate, "up", bundle, "--netns", pair.inner, *where).stdout
    assert "small" in run(lockgate, "status", *where).stdout
    assert "removed" in run(lockgate, "down", "small", *where).stdout
