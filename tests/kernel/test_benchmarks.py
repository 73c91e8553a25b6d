"""Benchmarks measure what they say: every program is one that the harness can call, and answers as it should.
No figure is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import harness, live_sets, policies, rule_cost
from lockgate.runtime.sys import netns
from lockgate.stdlib_bpf.state.events import RING_BYTES

pytestmark = pytest.mark.kernel


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "SLICE_NS", 1)


@pytest.mark.parametrize("version", [4, 6])
def test_a_list_is_measured(tmp_path: Path, version: int) -> None:
    path = policies.list_policy(tmp_path, 4, version)
    asked = harness.pools(policies.prefixes(4, version), version)
    with harness.loaded(path) as loaded:
        (program,) = loaded.programs.values()
        figures = harness.measure({"list": program}, asked, version, 2)["list"]
    assert {len(rounds) for rounds in (figures.floor, *figures.pools.values())} == {2}


@pytest.mark.parametrize("part", rule_cost.PARTS, ids=lambda part: f"{part.name} {part.hook.name}")
def test_a_part_of_a_rule_is_measured(tmp_path: Path, part: rule_cost.Part) -> None:
    with netns.fresh():
        row = rule_cost.measured(part, tmp_path / "policy.gate", 2)
    assert {name: len(found) for name, found in row["rounds"].items()} == {
        "floor": 2,
        "without": 2,
        "with": 2,
    }


def test_events_are_emptied_between_rounds(tmp_path: Path) -> None:
    path = tmp_path / "policy.gate"
    path.write_text(rule_cost.Part("all", option="log").policy(True))
    frame = harness.udp_frame(4)
    with harness.loaded(path) as loaded, rule_cost.rings(loaded) as (drain,):
        (program,) = loaded.programs.values()
        harness.alternate({"log": program}, frame, 1, drain)
        assert 0 < len(drain()) * len(frame) <= RING_BYTES
        assert drain() == []


def test_a_dynamic_set_is_measured(tmp_path: Path) -> None:
    with netns.fresh():
        row = live_sets.measured(tmp_path, 100, 1, 20)
    assert row["in the set"] == 100
    assert [len(row["kernel"][name]) for name in ("add", "del")] == [3, 3]
    assert len(row["loads"]["lockgate"]) == len(row["command"]) == 1
