"""The algebra of interval sets is that of sets: checked against Python's own over a small domain."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.stdlib_bpf.sets import IntervalSet

WIDTH = 6
DOMAIN = range(1 << WIDTH)
VALUE = st.sampled_from(DOMAIN)
RANGES = st.lists(st.tuples(VALUE, VALUE).map(lambda pair: (min(pair), max(pair))), max_size=8)
COMMON = settings(deadline=None, max_examples=300)


def plain(ranges: list[tuple[int, int]]) -> set[int]:
    return {value for low, high in ranges for value in range(low, high + 1)}


def values(found: IntervalSet) -> set[int]:
    """What a set holds; its ranges must be canonical."""
    ends = [end for pair in found.ranges for end in pair]
    assert all(low <= high for low, high in found.ranges)
    assert all(b - a >= 2 for a, b in zip(ends[1::2], ends[2::2], strict=False))
    return plain(list(found.ranges))


@given(RANGES, RANGES)
@COMMON
def test_operations(a: list[tuple[int, int]], b: list[tuple[int, int]]) -> None:
    x, y, p, q = IntervalSet.from_ranges(a), IntervalSet.from_ranges(b), plain(a), plain(b)
    assert values(x) == p
    assert values(x | y) == p | q
    assert values(x & y) == p & q
    assert values(x - y) == p - q
    assert x.issubset(y) == (p <= q)
    assert x.overlaps(y) == bool(p & q)
    assert (x == y) == (p == q)
    assert (hash(x) == hash(y)) or p != q


@given(RANGES)
@COMMON
def test_what_a_set_says_of_itself(ranges: list[tuple[int, int]]) -> None:
    found, expected = IntervalSet.from_ranges(ranges), plain(ranges)
    assert found.count == len(expected) == found.count
    assert bool(found) == bool(expected)
    assert [value in found for value in DOMAIN] == [value in expected for value in DOMAIN]
    assert values(found.complement(WIDTH)) == set(DOMAIN) - expected
    bounds = found.boundaries()
    assert all((sum(b <= value for b in bounds) % 2 == 1) == (value in expected) for value in DOMAIN)
    assert IntervalSet.from_ranges(found.ranges) == found  # also after its count was kept


@given(RANGES)
@COMMON
def test_prefixes_cover_exactly_and_none_could_be_joined(ranges: list[tuple[int, int]]) -> None:
    found = IntervalSet.from_ranges(ranges)
    blocks = [(value, 1 << (WIDTH - length)) for value, length in found.prefixes(WIDTH)]
    assert [v for value, size in blocks for v in range(value, value + size)] == sorted(plain(ranges))
    assert all(value % size == 0 for value, size in blocks)
    for (value, size), (following, other) in pairwise(blocks):
        joined = value + size == following and size == other and value % (2 * size) == 0
        assert not joined
