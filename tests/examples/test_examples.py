"""The policies in `examples/` mean what their `packets.txt` says, in every engine."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner

from lockgate import cli, judge
from lockgate.compiler import captures, packet
from lockgate.compiler.codegen.simulate import Packet
from lockgate.compiler.driver import Options, Session
from lockgate.compiler.policy.model import Chain, Prefixes
from lockgate.compiler.policy.prefixes import parse_lines
from lockgate.engines import ENGINES
from lockgate.judge import describe

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("edge", "host", "connect", "gateway", "redirect")
NOW = Options(now=date(2026, 3, 1))
ENGINE_PARAMETERS = [
    pytest.param(name, marks=pytest.mark.kernel) if name == "kernel" else name for name in ENGINES
]

Row = tuple[str, str, str]  # direction, packet, verdict by rule


def rows(example: str) -> tuple[list[Row], dict[str, Prefixes]]:
    """What a `packets.txt` says: packets with their answers, and the contents of dynamic sets."""
    found: list[Row] = []
    given: dict[str, Prefixes] = {}
    for line in (EXAMPLES / example / "packets.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("given "):
            _, name, *prefixes = line.split()
            given[name] = parse_lines("\n".join(prefixes)).prefixes
            continue
        asked, expected = line.split("\t")
        direction = asked.split()[0] if asked.split()[0] in ("ingress", "egress") else ""
        found.append((direction, asked.removeprefix(direction).strip(), expected))
    return found, given


def test_every_example_is_known() -> None:
    assert sorted(p.parent.name for p in EXAMPLES.glob("*/policy.gate")) == sorted(NAMES)
    for name in NAMES:
        assert (EXAMPLES / name / "README.md").exists()


@pytest.mark.parametrize("engine", ENGINE_PARAMETERS)
@pytest.mark.parametrize("example", NAMES)
def test_packets_get_their_verdicts(example: str, engine: str) -> None:
    asked, given = rows(example)
    with Session(EXAMPLES / example / "policy.gate") as session:
        live = {name: given.get(name, Prefixes()) for name in session.unit.live}
        assert given.keys() <= live.keys()
        wrong: list[str] = []
        for chain in session.unit.chains:
            mine = [row for row in asked if row[0] == chain.direction]
            assert mine, f"no packets for {chain.name}"
            wrong += judged(session, chain, mine, engine, live)
    assert not wrong, "\n" + "\n".join(wrong)


def judged(
    session: Session, chain: Chain, mine: list[Row], engine: str, live: dict[str, Prefixes]
) -> list[str]:
    """A line for each packet that got another answer."""
    packets: list[Packet] = [packet.parse(text) for _, text, _ in mine]
    wrong = []
    for (_, text, expected), decision in zip(
        mine, ENGINES[engine](session, chain, packets, live), strict=True
    ):
        answer = describe(chain, decision)
        if f"{answer['verdict']} by {answer['rule']}" != expected:
            wrong.append(f"{text}: {answer['verdict']} by {answer['rule']}, expected {expected}")
    return wrong


@pytest.mark.parametrize("example", NAMES)
def test_packets_reach_every_rule(example: str) -> None:
    """Each rule and the default decide at least one packet, of the list or of the policy's own tests, or let
    one go on that is on the list."""
    asked, _ = rows(example)
    decided = {(direction, expected.partition(" by ")[2]) for direction, _, expected in asked}
    with Session(EXAMPLES / example / "policy.gate") as session:
        own = [expect for test in session.unit.tests for expect in test.expects]
        decided |= {(session.chain(e.chain).direction, e.by) for e in own if e.by is not None}
        for chain in session.unit.chains:
            missing = {r.label for r in chain.rules} | {"default"}
            missing -= {rule for direction, rule in decided if direction == chain.direction}
            packets = [packet.parse(text) for direction, text, _ in asked if direction == chain.direction]
            for decision in ENGINES["interp"](session, chain, packets, {}):
                missing -= {chain.rules[i].label for i in decision.passed} if decision else set()
            assert not missing, f"{chain.name}: no packet is decided by {sorted(missing)}"


@pytest.mark.parametrize("example", NAMES)
def test_examples_are_without_findings(example: str) -> None:
    for path in sorted((EXAMPLES / example).glob("*.gate")):
        with Session(path, NOW) as session:
            session.analyse()
            assert not session.sink.diagnostics


@pytest.mark.parametrize("example", NAMES)
def test_their_own_tests_pass(example: str) -> None:
    ran = CliRunner().invoke(
        judge.test, [str(EXAMPLES / example / "policy.gate"), "--engine", "interp", "--engine", "native"]
    )
    assert ran.exit_code == 0, ran.output


COMMAND = re.compile(r"^\$ (lockgate .*)$", re.MULTILINE)
PAGES = sorted(page.parent.name for page in EXAMPLES.glob("*/README.md") if COMMAND.search(page.read_text()))


@pytest.mark.parametrize("example", PAGES)
def test_commands_of_their_pages_run(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that need no root; they may write beside the policy, so they run in a copy."""
    monkeypatch.chdir(shutil.copytree(EXAMPLES / example, tmp_path / example))
    for command in COMMAND.findall((EXAMPLES / example / "README.md").read_text()):
        ran = CliRunner().invoke(cli.cli, shlex.split(command)[1:])
        assert ran.exit_code == 0, f"{command}\n{ran.output}"


def test_the_blocklist_is_what_its_generator_makes() -> None:
    make = _module(EXAMPLES / "edge" / "make_blocklist.py").text
    text = (EXAMPLES / "edge" / "blocklist.txt").read_text()
    assert text == make(), "run: python examples/edge/make_blocklist.py > examples/edge/blocklist.txt"
    listed = parse_lines(text)
    assert not listed.bad
    assert listed.entries >= 100_000
    assert listed.prefixes.v4 and listed.prefixes.v6


class _Generator:
    text: Callable[[], str]


def _module(path: Path) -> _Generator:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module  # type: ignore[return-value]


@pytest.mark.parametrize("engine", ENGINE_PARAMETERS)
def test_the_capture_gets_its_verdicts(engine: str) -> None:
    frames = list(captures.read(EXAMPLES / "edge" / "sample.pcap"))
    expected = json.loads((EXAMPLES / "edge" / "sample.json").read_text())
    with Session(EXAMPLES / "edge" / "policy.gate") as session:
        (chain,) = session.unit.chains
        answers = [describe(chain, d) for d in ENGINES[engine](session, chain, frames, {})]
    totals = Counter(f"{a['verdict']} by {a['rule']}" for a in answers)
    assert dict(totals) == expected
