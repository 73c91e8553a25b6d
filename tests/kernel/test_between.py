"""Tests of policies for endpoints, through the programs that the kernel runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_between import HOLDS, WHO, ran

pytestmark = pytest.mark.kernel


def test_expectations_hold_in_the_kernel(tmp_path: Path) -> None:
    for steps in HOLDS:
        assert ran(tmp_path, WHO + steps, engine="kernel") == [], steps


def test_what_does_not_hold_is_told_by_the_kernel(tmp_path: Path) -> None:
    (found,) = ran(tmp_path, WHO + "expect drop tcp from api to db port 5432", engine="kernel")
    assert "E0690" in found and "from kernel" in found
