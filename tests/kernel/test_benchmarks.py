"""Benchmarks measure what they say: every program is one that the harness can call, and answers as it should.
No figure is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import harness, policies

pytestmark = pytest.mark.kernel


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "SLICE_NS", 1)


@pytest.mark.parametrize("version", [4, 6])
def test_a_list_is_measured(tmp_path: Path, version: int) -> None:
    path = policies.list_policy(tmp_path, 4, version)
    hits, misses = harness.pools(policies.prefixes(4, version), version)
    with harness.loaded(path) as loaded:
        (program,) = loaded.programs.values()
        figures = harness.measure({"list": program}, hits, misses, version, 2)["list"]
    assert [len(rounds) for rounds in (figures.floor, figures.hit, figures.miss)] == [2, 2, 2]
