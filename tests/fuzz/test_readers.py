"""Readers of bundles, objects and texts of the intermediate forms: a value or the reader's own error.

Bundles are broken twice: anywhere, and inside with the seal made anew, so that what is behind it is read,
too. A failure names its seed.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lockgate.compiler.diagnostics import PolicyError
from lockgate.compiler.driver import MATCH_PIPELINE, Session
from lockgate.compiler.irtext import IrSyntaxError
from lockgate.compiler.match import text as match_text
from lockgate.compiler.match.verify import VerifyError as MatchError
from lockgate.compiler.match.verify import verify as verify_match
from lockgate.compiler.plan import text as plan_text
from lockgate.compiler.plan.verify import VerifyError as PlanError
from lockgate.compiler.plan.verify import verify as verify_plan
from lockgate.runtime import bundle as bundles
from lockgate.runtime import elf, plan
from lockgate.runtime.errors import LockgateError
from tests.fuzz import mutate
from tests.fuzz.test_policies import P, read, time_limit
from tests.unit.test_runtime_bundle import _members, _sealed, sample

SHORT, LONG = 150, 2_000
ODD_VALUES = (None, True, -1, 1 << 70, 0.5, "", "\0", "../x", [], {}, [[]], ["a"], {"a": 1}, "9" * 5000)


def _damaged(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(out) or 1)
        match rng.randrange(5):
            case 0:
                out[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                out[at : at + 4] = rng.choice((b"\0" * 4, b"\xff" * 4, rng.randbytes(4), b"\x7f\xff\xff\xff"))
            case 2:
                del out[at : at + rng.choice((1, 8, 500))]
            case 3:
                out[at:at] = bytes(out[at : at + rng.choice((1, 8, 500))])
            case 4:
                del out[at:]
    return bytes(out)


def _bent(value: Any, rng: random.Random) -> Any:
    """A JSON value with something in it that does not belong there, or without something that does."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        if rng.random() < 0.15:
            return {k: v for k, v in value.items() if k != key}
        if rng.random() < 0.1:
            return {**value, "more": 1}
        return {**value, key: _bent(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        return [*value[:at], _bent(value[at], rng), *value[at + 1 :]]
    return rng.choice(ODD_VALUES)


def _bundle(seed: int) -> None:
    """Anywhere."""
    _read_bundle(_damaged(sample(), random.Random(seed)))


def _manifest(seed: int) -> None:
    """Behind the seal."""
    rng, members = random.Random(seed), _members()
    raw = members["manifest.json"]
    if rng.random() < 0.3:
        members["manifest.json"] = _damaged(raw, rng)
    else:
        members["manifest.json"] = json.dumps(_bent(json.loads(raw), rng)).encode()
    _read_bundle(_sealed(members))


def _read_bundle(data: bytes) -> None:
    try:
        plan.render(plan.make(bundles.parse(data)))
    except LockgateError as error:
        assert str(error) and "Error" not in str(error)


def _object(seed: int) -> None:
    """An ELF object."""
    rng = random.Random(seed)
    name = rng.choice(sorted(n for n in _members() if n.endswith(".o")))
    try:
        elf.read(_damaged(_members()[name], rng))
    except elf.ElfError as error:
        assert str(error)


@functools.cache
def _texts() -> tuple[list[str], list[str]]:
    """Texts of match programs and plans."""
    sample = next(text for text in mutate.samples() if "policy " in text)
    with Session(P, read_file=lambda path: read(path, sample)) as session:
        chains = session.unit.chains
        matches = [match_text.write(MATCH_PIPELINE.run(session.match(c)).ir) for c in chains]
        return matches, [plan_text.write(session.plan(c)) for c in chains]


def _text_of(kind: int, seed: int) -> str:
    rng = random.Random(seed)
    text = rng.choice(_texts()[kind])
    for _ in range(rng.choice((1, 1, 2, 5))):
        text = rng.choice(mutate.MUTATIONS)(text, rng)
    return text


def _match(seed: int) -> None:
    """The text of a match program."""
    try:
        verify_match(match_text.read(_text_of(0, seed)))
    except (IrSyntaxError, MatchError) as error:
        assert str(error)


def _plan(seed: int) -> None:
    """The text of a plan."""
    try:
        verify_plan(plan_text.read(_text_of(1, seed)))
    except (IrSyntaxError, PlanError) as error:
        assert str(error)


SETTINGS = """# lockgate.toml
include-paths = ["../lib"]
[delegate]
hooks = ["tc"]
interfaces = ["tap*", "?", "**"]
cgroups = []
actions = ["drop", "pass"]
owners = ["*@example.org"]
must-own = true
imports = ["./*", "std/**"]
"""


def _settings(seed: int) -> None:
    """A file `lockgate.toml`, and a policy that it holds for."""
    rng = random.Random(seed)
    data = _damaged(SETTINGS.encode(), rng)
    policy = rng.choice(mutate.samples()).encode()

    def read(path: Path) -> bytes:
        files = {P.name: policy, "lockgate.toml": data}
        return files[path.name] if path.name in files else path.read_bytes()

    with Session(P, read_file=read) as session:
        try:
            assert session.unit
        except PolicyError as error:
            assert error.diagnostics


def _import(seed: int) -> None:
    """A broken policy that a sound one imports, and that imports itself and others."""
    lib = 'import "other.gate" as other\n' + mutate.mutant(seed)
    text = 'import "lib.gate" as lib\n' + random.Random(seed).choice(mutate.samples())
    texts = {P.name: text, "lib.gate": lib, "other.gate": mutate.mutant(seed + 1)}

    def read(path: Path) -> bytes:
        if path.suffix == ".toml":
            raise FileNotFoundError(2, "No such file or directory")
        return texts.get(path.name, "10.0.0.1\n").encode("utf-8", "surrogatepass")

    with Session(P, read_file=read) as session:
        try:
            assert session.unit
        except PolicyError as error:
            assert error.diagnostics


READERS: dict[str, Callable[[int], None]] = {
    "bundle": _bundle,
    "manifest": _manifest,
    "object": _object,
    "match": _match,
    "plan": _plan,
    "settings": _settings,
    "import": _import,
}


def _try(reader: str, seeds: range) -> None:
    for seed in seeds:
        try:
            with time_limit():
                READERS[reader](seed)
        except Exception as error:
            error.add_note(f"reader {reader}, seed {seed}")
            raise


@pytest.mark.parametrize("reader", READERS)
def test_readers(reader: str) -> None:
    _try(reader, range(SHORT))


@pytest.mark.exhaustive
@pytest.mark.parametrize("reader", READERS)
def test_readers_at_length(reader: str) -> None:
    _try(reader, range(SHORT, LONG))
