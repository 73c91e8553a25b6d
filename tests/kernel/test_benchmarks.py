"""Benchmarks measure what they say: every program is one that the harness can call, and answers as it should.
No figure is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import (
    flood,
    flows,
    forwarding,
    handwritten,
    harness,
    live_sets,
    others,
    policies,
    rule_cost,
    rule_lists,
    rule_sets,
    run,
    sets,
    structures,
    targets,
    tuples,
)
from lockgate.runtime.sys import bpf, netns
from lockgate.stdlib_bpf.classifiers import Box
from lockgate.stdlib_bpf.state.events import RING_BYTES

pytestmark = pytest.mark.kernel


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "SLICE_NS", 100_000)
    monkeypatch.setattr(harness, "POOL", 1 << 12)


@pytest.mark.parametrize("version", [4, 6])
def test_a_list_is_measured(tmp_path: Path, version: int) -> None:
    path = policies.list_policy(tmp_path, 4, version)
    asked = harness.pools(policies.prefixes(4, version), version)
    with harness.loaded(path) as loaded:
        (program,) = loaded.programs.values()
        figures = harness.measure({"list": program}, asked, version, 2)["list"]
    assert {len(rounds) for rounds in (figures.floor, *figures.pools.values())} == {2}


def test_ways_between_pods_are_measured() -> None:
    found = forwarding.measured(1, 0.01)
    assert all(len(rows) == 1 for ways in found.values() for rows in ways.values())


def test_known_flows_are_measured() -> None:
    with netns.fresh():
        row = flows.measured(100, 2)
    assert {len(found) for found in row["rounds"].values()} == {2}


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


@pytest.mark.parametrize("kind", [sets.KINDS[3], sets.KINDS[5]], ids=lambda kind: kind.title)
def test_a_set_is_measured_beside_others(tmp_path: Path, kind: sets.Kind) -> None:
    """Every structure, and every filter that is installed, is seen to drop what is in the set and to pass
    what is not: `harness.compared` refuses to measure anything else."""
    with harness.constant("pass") as base:
        rows = structures.compare(
            tmp_path, kind, 64, {(kind.version, what): base for what in ("miss", "half")}, 2
        )
    (chosen,) = (row for row in rows if row["chosen"])
    assert set(kind.compared(64)) <= {row["structure"] for row in rows}
    installed = {one.name for one in others.ALL if one.set and not one.missing()}
    assert {row["structure"] for row in rows if row["sort"] == "filter"} == installed
    assert chosen["map_bytes"] > 0


def test_a_rule_list_is_measured_beside_others(tmp_path: Path) -> None:
    rows = rule_lists.compare(tmp_path, "fw", 40, 2, others.ALL)
    installed = {one.name for one in others.ALL if one.rules and not one.missing()}
    assert {row["way"] for row in rows} == {"chosen", "chain", "linear, by hand"} | installed
    assert [row["refused"] for row in rows if "refused" in row] == []


def test_layers_of_rules_do_not_overlap_and_keep_the_order() -> None:
    rules = rule_sets.boxes("fw", 200)
    layers = others.layers(rules)
    assert len(layers) > 2
    assert sorted(box.rule for layer in layers for box in layer) == list(range(len(rules)))
    pool = tuples.inside(rules)
    packets = [tuples.packet_of(stamp) for stamp in pool.stamps[:500]]
    for packet, first in zip(packets, tuples.decided(packets, rules), strict=True):
        matches = [[box.rule for box in layer if _holds(box, packet)] for layer in layers]
        assert all(len(found) <= 1 for found in matches)
        assert next(found[0] for found in matches if found) == first


def _holds(box: Box, packet: tuples.Packet) -> bool:
    return all(low <= value <= high for value, (low, high) in zip(packet, box.ranges, strict=True))


def test_a_read_by_hand_is_of_a_table_half_of_zeros() -> None:
    program, table = handwritten.read(1 << 16)
    with program, table, harness.generating(program, range(harness.POOL), 4) as generator:
        found = [bpf.test_run(generator, harness.udp_frame(4)).value for _ in range(400)]
        assert {found.count(harness.XDP.verdicts[verdict]) // 100 for verdict in ("drop", "pass")} <= {1, 2}
        for value, verdict in ((0, "drop"), (1, "pass")):
            bpf.map_update(table, bytes(4), bytes([value]) * (1 << 16))
            harness.verify("read", generator, harness.udp_frame(4), [verdict] * 100)


def test_a_flood_is_measured(tmp_path: Path) -> None:
    """All packets arrive, and none gets past a receiver: `wire.Wire.verify` refuses anything else."""
    rows = flood.measured(tmp_path, 500, 20, 2)
    names = [row["receiver"] for row in rows]
    assert names[:3] == ["drops at once", flood.PARSES, flood.EDGE]
    installed = {one.name for one in others.ALL if not one.missing()}
    assert set(names[3:]) >= {name for name, of in flood.FILTERS.items() if installed.issuperset(of[:2])}


@pytest.mark.parametrize("target", targets.ALL, ids=lambda target: target.name)
def test_a_target_is_judged_by_a_benchmark_that_there_is(target: targets.Target, tmp_path: Path) -> None:
    """Its result is one that `make bench` writes before, and what is missing there is not met."""
    names = list(run.ALL)
    assert names.index(target.source) < names.index("targets")
    assert targets.judged(target, tmp_path)["met"] is None
    (tmp_path / f"{target.source}.json").write_text('{"rows": []}')
    assert targets.judged(target, tmp_path)["met"] is None
