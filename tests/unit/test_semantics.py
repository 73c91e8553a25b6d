"""Every row of the language's semantics has a test that exists, or says what it waits for."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.semantics import ROWS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_names_tests_that_exist(row: str) -> None:
    tests = ROWS[row]
    if isinstance(tests, str):
        assert tests.startswith("not yet in the language: ")
        return
    assert tests
    for test in tests:
        file, _, function = test.partition("::")
        assert (ROOT / file).is_file(), test
        if function:
            found = {
                n.name
                for n in ast.walk(ast.parse((ROOT / file).read_text()))
                if isinstance(n, ast.FunctionDef)
            }
            assert function in found, test


def test_every_file_test_of_the_semantics_belongs_to_a_row() -> None:
    named = {test for tests in ROWS.values() if not isinstance(tests, str) for test in tests}
    there = {str(p.relative_to(ROOT)) for p in (ROOT / "tests/filetests/semantics").glob("*.ft")}
    assert there <= named
