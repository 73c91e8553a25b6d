"""Accounts of decisions: they tell what the reference does, and why a rule did not match."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.compiler import trace
from lockgate.compiler.policy.decide import decide, matches
from lockgate.compiler.policy.model import Chain, Prefixes
from lockgate.judge import COMMANDS as JUDGE
from lockgate.stdlib_bpf.decode.frame import Facts
from lockgate.trace import COMMANDS
from tests.properties.programs import chains, contents, facts


@given(chains(), facts(), contents(), st.booleans())
@settings(deadline=None, max_examples=150)
def test_steps_are_those_of_the_reference(
    chain: Chain, seen: Facts, live: dict[str, Prefixes], told: bool
) -> None:
    held = live if told else {}
    decision = decide(chain, seen, held)
    steps = list(trace.steps(chain, seen, held))
    deciding = [step.rule for step in steps if step.outcome == trace.DECIDES]
    assert deciding == ([decision.rule] if decision.rule >= 0 else [])
    assert tuple(step.rule for step in steps if step.outcome == trace.GOES_ON) == decision.passed
    for step in steps:
        assert bool(step.reason) == (step.outcome == trace.MISSES)
        if step.reason:
            rule = chain.rules[step.rule]
            assert rule.limit is not None or not matches(rule, seen, held)


POLICY = """tiers guard > team
policy sick for [sick=yes] { tier guard  ingress { drop } }
policy db for [app=db] {
  tier team  default drop
  ingress {
    skip: pass udp
    pg: allow tcp from [app=api] to port 5432
    low: drop tcp if ip.ttl < 5
    web: allow tcp from [app=web] to port 80, 443
  }
}
policy try for [app=db] { tier team  order 1  mode audit  ingress { would: drop tcp } }
"""
INVENTORY = """endpoints:
  - { name: db, labels: { app: db }, addresses: [ 10.0.0.1 ] }
  - { name: api, labels: { app: api }, addresses: [ 10.0.0.2, 'fd00::2' ] }
  - { name: n, kind: host, addresses: [ 10.0.0.3 ] }
"""


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "p.gate").write_text(POLICY.replace("80, 443", "{ 80, 443 }"))
    (tmp_path / "e.yaml").write_text(INVENTORY)
    return [str(tmp_path / "p.gate"), "--endpoints", str(tmp_path / "e.yaml")]


def told(arguments: list[str]) -> list[str]:
    found = CliRunner().invoke(COMMANDS["trace"], arguments)
    assert found.exception is None, found.output
    return [line.strip() for line in found.stdout.splitlines()]


def test_both_ends_are_told_tier_by_tier(files: list[str]) -> None:
    lines = told([*files, "tcp 10.0.0.2:4 > 10.0.0.1:5432 syn"])
    here = lines[lines.index("ingress of db") :]
    assert lines[0] == "egress of api" and "allow by default" in lines
    assert here == [
        "ingress of db",
        "tier guard",
        "sick: does not select it",
        "tier team",
        "try (audit: decides nothing)",
        "-> try.would (line 12) continue goes on",
        "db",
        "db.skip (line 6) pass does not match: it is other traffic",
        "=> db.pg (line 7) allow decides",
        "allow by db.pg",
    ]


@pytest.mark.parametrize(
    ("packet", "line"),
    [
        (
            "tcp 10.0.0.2:4 > 10.0.0.1:5432 ack",
            "db.pg (line 7) allow does not match: it does not begin a flow",
        ),
        ("tcp 10.0.0.9:4 > 10.0.0.1:5432", "db.pg (line 7) allow {no}: the source is another"),
        (
            "tcp 10.0.0.2:4 > 10.0.0.1:5433",
            "db.pg (line 7) allow {no}: the destination port is another",
        ),
        ("tcp 10.0.0.9:4 > 10.0.0.1:1", "db.low (line 8) drop {no}: `ip.ttl` is 64"),
        ("udp 10.0.0.2:4 > 10.0.0.1:1", "-> db.skip (line 6) pass goes on"),
        ("udp 10.0.0.2:4 > 10.0.0.1:1", "db.pg (line 7) allow is not asked"),
        ("tcp 10.0.0.9:4 > 10.0.0.8:1", "neither end is an endpoint of the inventory: not judged"),
        ("tcp 10.0.0.1:4 > 10.0.0.1:5432", "allow by not judged"),
    ],
)
def test_why_a_rule_does_not_match(files: list[str], packet: str, line: str) -> None:
    assert line.replace("{no}", trace.MISSES) in told([*files, packet])


def test_eval_judges_both_ends_and_remembers_flows(files: list[str]) -> None:
    packets = [
        "tcp 10.0.0.2:4 > 10.0.0.1:5432 syn",
        "tcp 10.0.0.1:5432 > 10.0.0.2:4 syn,ack",
        "tcp 10.0.0.2:4 > 10.0.0.1:5432 ack",
        "tcp 10.0.0.2:5 > 10.0.0.1:5432 ack",
        "tcp 10.0.0.8:5 > 10.0.0.9:5432",
    ]
    for engine in ("interp", "match", "plan", "native"):
        found = CliRunner().invoke(JUDGE["eval"], [*files, *packets, "--engine", engine])  # type: ignore[arg-type]
        said = [line.rpartition(": ")[2] for line in found.stdout.splitlines()[:5]]
        assert said == [
            "allow by db.pg (line 7)",
            "allow by known flow",
            "allow by known flow",
            "drop by team.default.ingress (line 4)",
            "allow by not judged",
        ]


def test_eval_asks_for_an_inventory(files: list[str]) -> None:
    found = CliRunner().invoke(JUDGE["eval"], [files[0], "tcp"])  # type: ignore[arg-type]
    assert found.exit_code == 2 and "give --endpoints INVENTORY" in found.output
