"""A condition as an or of conjunctions.

Knows the shape of conditions; must never know what a field is.
"""

from __future__ import annotations

from math import prod

from lockgate.stdlib_bpf.sets import IntervalSet

from .model import AllOf, AnyOf, FieldTest, Where

Tests = dict[str, IntervalSet]


def count(condition: Where) -> int:
    """How many conjunctions a condition becomes."""
    match condition:
        case FieldTest():
            return 1
        case AllOf(items):
            return prod(map(count, items))
        case AnyOf(items):
            return sum(map(count, items))


def conjunctions(condition: Where | None) -> list[Tests]:
    """The conjunctions, one of which must hold: field → values. A set is empty where tests of one field
    exclude each other."""
    match condition:
        case None:
            return [{}]
        case FieldTest(field, values):
            return [{field: values}]
        case AnyOf(items):
            return [tests for item in items for tests in conjunctions(item)]
        case AllOf(items):
            found: list[Tests] = [{}]
            for item in items:
                found = [_both(a, b) for a in found for b in conjunctions(item)]
            return found


def _both(a: Tests, b: Tests) -> Tests:
    return a | {name: values & a.get(name, values) for name, values in b.items()}
