"""Profiles: their form, what is refused of them, and that they order rules without anything else changing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from lockgate import cli
from lockgate.compiler.diagnostics import PolicyError
from lockgate.compiler.driver import Options, Session, build_bundle
from lockgate.compiler.plan.ir import Branch, Plan
from lockgate.compiler.plan.profiled import early, hot, reaching, reordered
from lockgate.compiler.plan.specialise import Conjunction
from lockgate.compiler.plan.text import write as text
from lockgate.runtime import bundle as bundles
from lockgate.stdlib_bpf.profile import FORMAT, BadProfile, Profile, from_json, to_json
from lockgate.stdlib_bpf.sets import IntervalSet

POLICY = """
policy edge at xdp on "eth0" {
  fragments first-only
  default pass
  a: drop udp to port 53
  b: pass tcp to port { 80, 443 }
  c: drop tcp from 10.0.0.0/8 to port 22
  d: pass tcp to port 22
}
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "edge.gate"
    path.write_text(POLICY)
    return path


def written(folder: Path, counts: Mapping[str, int], name: str = "edge", chain: str = "edge") -> Path:
    path = folder / "edge.profile"
    path.write_text(to_json(Profile(name, {chain: counts})))
    return path


def planned(policy: Path, profile: Path | None) -> Plan:
    with Session(policy, Options(profile=profile)) as session:
        return session.plan(session.unit.chains[0])


# ---- the form ----


def test_what_is_written_reads_back_and_is_sorted() -> None:
    profile = Profile("edge", {"b": {"x": 1}, "a": {"default": 2, "é:3": 0}})
    text = to_json(profile)
    assert from_json(text.encode()) == profile
    assert text.index('"a"') < text.index('"b"')
    assert text == to_json(from_json(text.encode()))


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"\xff", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "does not say"),
        ({}, "does not say"),
        ({"format": "lockgate profile 2"}, "does not say"),
        ({"format": FORMAT}, "names no policy"),
        ({"format": FORMAT, "policy": "p", "chains": []}, "names no policy"),
        ({"format": FORMAT, "policy": "p", "chains": {"p": 3}}, "no counts for `p`"),
        ({"format": FORMAT, "policy": "p", "chains": {"p": {"r": -1}}}, "no number of packets for `r`"),
        ({"format": FORMAT, "policy": "p", "chains": {"p": {"r": 1.5}}}, "no number"),
        ({"format": FORMAT, "policy": "p", "chains": {"p": {"r": True}}}, "no number"),
        ({"format": FORMAT, "policy": "p", "chains": {"p": {"r": 1 << 64}}}, "no number"),
    ],
)
def test_what_is_no_profile(document: object, reason: str) -> None:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(BadProfile, match=reason):
        from_json(data)


# ---- beside a policy ----


def test_a_profile_of_another_policy_is_an_error(policy: Path) -> None:
    profile = written(policy.parent, {"a": 1}, name="gate")
    with Session(policy, Options(profile=profile)) as session, pytest.raises(PolicyError) as error:
        session.analyse()
    (found,) = error.value.diagnostics
    assert found.code == "E0705"
    assert "is one of `gate`, and this is `edge`" in found.labels[0].text


@pytest.mark.parametrize("contents", [None, "rubbish"])
def test_the_command_says_what_is_wrong_with_it(
    policy: Path, contents: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = policy.parent / "edge.profile"
    if contents is not None:
        profile.write_text(contents)
    with pytest.raises(SystemExit) as stop:
        cli.main(["build", str(policy), "--profile", str(profile)])
    assert stop.value.code == 1
    said = capsys.readouterr().err
    assert "error[E0705]" in said
    assert ("is not JSON" if contents else "cannot be read") in said
    assert not policy.with_suffix(".bundle").exists()


def test_rules_that_are_gone_are_left_aside_with_a_warning(policy: Path) -> None:
    stale = written(policy.parent, {"a": 1, "d": 900, "gone": 5, "edge.gate:3": 2})
    with Session(policy, Options(profile=stale)) as session:
        session.analyse()
        plan = session.plan(session.unit.chains[0])
    (found,) = [d for d in session.sink.diagnostics if d.code == "W0706"]
    assert "`edge.gate:3`, `gone`" in found.labels[0].text
    assert text(plan) == text(planned(policy, written(policy.parent, {"a": 1, "d": 900})))


def test_of_rule_lists_that_are_gone_all_is_left_aside(policy: Path) -> None:
    profile = written(policy.parent, {"a": 9}, chain="elsewhere")
    with Session(policy, Options(profile=profile)) as session:
        session.analyse()
    assert [d.code for d in session.sink.diagnostics] == ["W0706"]
    assert text(planned(policy, profile)) == text(planned(policy, None))


def test_a_profile_is_an_input_and_the_same_gives_the_same_bytes(policy: Path) -> None:
    profile = written(policy.parent, {"d": 900, "a": 1})
    once, again = (build_bundle(policy, Options(profile=profile)) for _ in range(2))
    assert once == again
    assert once != build_bundle(policy)
    assert bundles.parse(once).manifest.inputs[-1][0] == "edge.profile"
    other = build_bundle(policy, Options(profile=written(policy.parent, {"d": 901, "a": 1})))
    assert other != once, "its digest is in the manifest"


def test_a_profile_without_packets_changes_no_plan(policy: Path) -> None:
    for counts in ({}, {"default": 10}):
        assert text(planned(policy, written(policy.parent, counts))) == text(planned(policy, None))


def test_busy_rules_come_first_and_are_hot(policy: Path) -> None:
    plan = planned(policy, written(policy.parent, {"b": 800, "d": 150, "default": 50}))
    first = next(node for node in plan.nodes if isinstance(node, Branch) and node.rule is not None)
    assert first.rule == 1
    assert plan.hot == (1, 3)


# ---- the order ----


def one(rule: int, **tests: tuple[int, ...]) -> Conjunction:
    names = {"port": "th.dport", "proto": "l4.proto", "live": "ip4.src@ban"}
    return Conjunction(rule, tuple((names[k], IntervalSet.of(*v)) for k, v in tests.items()))


def order(matches: list[Conjunction], hits: Mapping[int, int]) -> list[int]:
    return [match.rule for match in reordered(matches, hits)]


def test_only_what_shares_no_packet_changes_places() -> None:
    rules = [one(0, port=(1,)), one(1, port=(2,)), one(2, port=(2, 3)), one(3, port=(4,))]
    assert order(rules, {}) == [0, 1, 2, 3]
    assert order(rules, {3: 100}) == [3, 0, 1, 2]
    assert order(rules, {2: 100}) == [0, 1, 2, 3], "rule 1 takes some of its packets"
    assert order(rules, {2: 100, 1: 50}) == [1, 2, 0, 3]


def test_what_a_rule_asks_of_other_fields_does_not_keep_it_apart() -> None:
    assert order([one(0, proto=(6,)), one(1, port=(1,))], {1: 9}) == [0, 1]
    assert order([one(0, live=(1,), port=(1,)), one(1, live=(0,), port=(1,))], {1: 9}) == [0, 1]


def test_all_matches_of_a_rule_move_together() -> None:
    rules = [one(0, port=(1,)), one(1, port=(2,)), one(1, port=(1, 3))]
    assert order(rules, {1: 100}) == [0, 1, 1]
    assert order([*rules[:1], one(1, port=(2,)), one(1, port=(3,))], {1: 100}) == [1, 1, 0]


def test_of_equals_and_of_rare_ones_the_order_stays() -> None:
    rules = [one(number, port=(number,)) for number in range(4)]
    assert order(rules, dict.fromkeys(range(4), 5)) == [0, 1, 2, 3]
    assert order(rules, {-1: 1_000, 3: 5}) == [0, 1, 2, 3]


def test_shares_and_what_follows_from_them() -> None:
    rules = [one(0, port=(1,)), one(1, port=(2,)), one(1, port=(3,)), one(2, port=(4,))]
    hits = {-1: 10, 0: 60, 1: 20, 2: 10}
    shares = reaching(rules, hits)
    assert shares == pytest.approx({0: 1.0, 1: 0.4, 2: 0.2})
    assert hot(shares, hits) == {0}
    assert early(rules, hits) == {0, 1, 2}
    assert early(rules, hits | {1: 1}) == {0}, "those behind a rare one do not stand first"
    assert early(rules, {}) == frozenset()
    assert set(reaching(rules, {}).values()) == {1.0}
