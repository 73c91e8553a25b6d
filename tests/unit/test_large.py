"""Many rules: what is said when they are too many, and that nothing looks at all rules for each rule."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from lockgate.compiler import driver
from lockgate.compiler.diagnostics import PolicyError
from lockgate.compiler.driver import Session
from lockgate.compiler.match import coverage
from lockgate.compiler.match.ir import Match, MatchProgram, RuleInfo
from lockgate.compiler.plan import cost
from lockgate.stdlib_bpf.sets import IntervalSet

from .front import findings, xdp


def analysed(folder: Path, rules: str) -> list[str]:
    """What is said about a policy; messages and notes."""
    path = folder / "p.gate"
    path.write_text(xdp(rules))
    with Session(path) as session, suppress(PolicyError):
        session.analyse()
    return [text for d in session.sink.diagnostics for text in (f"{d.code} {d.message}", *d.notes)]


def test_too_many_rules_are_refused_with_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "MAX_STEPS", 20_000)
    said = analysed(
        tmp_path, "".join(f"drop udp to port {port} if ip.ttl == 1\n" for port in range(1, 1_001))
    )
    assert said == [
        "E0703 policy `edge` needs 20,040 verifier steps, the limit is 20,000",
        "no rule accounts for more than others; there are too many of them",
    ]


def test_rules_that_only_compare_fields_are_not_too_many(tmp_path: Path) -> None:
    rules = "".join(f"drop udp from 192.0.2.{n % 256} to port {n + 1}\n" for n in range(9_000))
    assert analysed(tmp_path, rules) == []


def test_rules_that_cannot_be_told_apart_are_too_many(tmp_path: Path) -> None:
    path = tmp_path / "p.gate"
    sliding = (
        f"drop tcp from port {n + 1}-{n + 30_000} to port {35_000 - n}-{65_535 - n}\n" for n in range(6_000)
    )
    path.write_text(xdp("".join(sliding)))
    with Session(path) as session, suppress(PolicyError):
        session.module(session.unit.chains[0])
    (said,) = [d for d in session.sink.diagnostics if d.code == "E0703"]
    assert "verifier steps, the limit is 900,000" in said.message


def test_examples_stop_when_looking_for_them_takes_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = "a: drop udp\n" + "".join(f"r{port}: drop udp to port {port}\n" for port in range(1, 11))
    monkeypatch.setattr(driver, "MAX_EXAMPLE_LOOKS", 1 + 2 + 3)
    path = tmp_path / "p.gate"
    path.write_text(xdp(rules))
    with Session(path) as session:
        session.analyse()
    assert [d.witness is not None for d in session.sink.diagnostics] == [True] * 3 + [False] * 7


def hosts(count: int) -> MatchProgram:
    """Rules for one address each, in no order of addresses, and one that they do not cover."""
    ip4 = ("eth.type", IntervalSet.of(0x0800))
    matches = [
        Match((ip4, ("ip4.src", IntervalSet.of(i * 2_654_435_761 % 2**32))), i, (i,)) for i in range(count)
    ]
    matches.append(Match((ip4,), count, (count,)))
    rules = tuple(RuleInfo(str(i), "drop", "p.gate", 1) for i in range(count + 1))
    return MatchProgram("edge", "xdp", "", "pass", rules, tuple(matches))


def test_coverage_looks_at_few_matches_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    takes = coverage._takes
    monkeypatch.setattr(coverage, "_takes", lambda box, packet: looks.append(1) or takes(box, packet))
    program = hosts(20_000)
    assert not any(coverage.coverage(program))
    assert len(looks) < len(program.matches)


def test_a_known_name_is_sought_for_the_first_hundred_unknown_ones() -> None:
    rules = "".join(f"drop tcp from ofice to port {port}\n" for port in range(1, 103))
    found = findings("network office = 192.0.2.0/24\n" + xdp(rules))
    advised = [d.labels[0].text == "did you mean `office`?" for d in found]
    assert advised == [True] * 100 + [False] * 2
