"""Every lookup structure means membership in the set it was built from."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.stdlib_bpf import tables
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.tables import DataImage, MapImage, Table, arrays, cuckoo, range_index

from .table_sets import drawn, keys

BLOCKS = [
    pytest.param(block, width, id=f"{kind}-{width}")
    for kind, block in tables.ALL.items()
    for width in sorted(block.WIDTHS)
]


@st.composite
def value_sets(draw: st.DrawFn, width: int, exact: bool) -> IntervalSet:
    """Sets that crowd into few chunks, with ranges of every size and both ends of the domain."""
    top = (1 << width) - 1
    near = st.sampled_from([0, 1 << (width - 1), top >> 3]).flatmap(
        lambda base: st.integers(0, min(300, top - base)).map(lambda offset: base + offset)
    )
    value = st.one_of(st.integers(0, top), near, st.sampled_from([0, 1, top - 1, top]))
    size = st.integers(0, 3) if exact else st.integers(0, width).map(lambda bits: (1 << bits) - 1)
    pairs = draw(st.lists(st.tuples(value, size), min_size=1, max_size=60))
    return IntervalSet.from_ranges((low, min(top, low + more)) for low, more in pairs)


@pytest.mark.parametrize(("block", "width"), BLOCKS)
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_model_is_membership(block: Table, width: int, data: st.DataObject) -> None:
    values = data.draw(value_sets(width, block.EXACT))
    image = block.build(values, width, block.entries(values, width))
    keys = data.draw(st.lists(st.integers(0, (1 << width) - 1), max_size=20))
    keys += [end + step for low, high in values for end in (low, high) for step in (-1, 0, 1)]
    for key in keys:
        if 0 <= key < 1 << width:
            assert block.model(image, key, width) == (key in values)


@pytest.mark.parametrize(("block", "width"), BLOCKS)
@pytest.mark.parametrize("count", [0, 1, 3_000])
def test_sets_that_are_spread_out(block: Table, width: int, count: int) -> None:
    """Large enough for several levels; prefixes of all lengths where the block takes ranges."""
    values = drawn("model", block, width, count)
    image = block.build(values, width, block.entries(values, width))
    asked = keys(values, width, 2_000)
    assert not [key for key in asked if block.model(image, key, width) != (key in values)]


@pytest.mark.parametrize(("block", "width"), BLOCKS)
def test_images_are_laid_out_as_declared(block: Table, width: int) -> None:
    values = IntervalSet.of(*(3 * i for i in range(40)))
    image = block.build(values, width, 64)
    match image:
        case MapImage(spec, count, keys, contents):
            assert len(keys) == count * spec.key_size
            assert len(contents) == count * spec.value_size
            assert count <= spec.max_entries == 64
        case DataImage(sections, _):
            for _, data, element in sections:
                assert len(data) % element == 0
    assert block.cost(values, width, 64).latency_ns > 0


@pytest.mark.parametrize("kind", ["hash", "lpm_trie"])
def test_a_map_refuses_more_than_it_has_room_for(kind: str) -> None:
    with pytest.raises(ValueError, match="do not fit 2 entries"):
        tables.ALL[kind].build(IntervalSet.of(1, 3, 5), 32, 2)


def test_very_many_ranges_get_a_larger_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_index, "INDEX_BITS", ((100, 18), (0, 16)))
    values = drawn("large", range_index, 32, 2_000)
    image = range_index.build(values, 32, len(values))
    assert image.parameter("index_bits") == 18
    asked = keys(values, 32, 2_000)
    assert not [key for key in asked if range_index.model(image, key, 32) != (key in values)]


def test_a_mix_that_does_not_do_is_followed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first multipliers send the value to fingerprint 0 on both sides."""
    hopeless, *others = cuckoo.MIXES
    value = -hopeless[0] & cuckoo.WORD
    image = cuckoo.build(IntervalSet.of(value), 32, 1)
    assert (image.parameter("first"), image.parameter("second")) == others[0][:2]
    assert cuckoo.model(image, value, 32) and not cuckoo.model(image, value ^ 1, 32)


def test_a_full_cuckoo_takes_a_larger_one_when_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuckoo, "ROUNDS", 5)
    values = IntervalSet.of(*range(3, 60_000, 7))
    image = cuckoo.build(values, 32, values.count)
    assert image.parameter("bucket_bits") > cuckoo.shape(values.count)[1]
    assert all(cuckoo.model(image, value, 32) for value, _ in values)


def test_bounds_are_a_power_of_two_and_an_end_past_the_domain_is_left_out() -> None:
    image = tables.ALL["range_index"].build(IntervalSet.of((5, 6), (0xFFFF0000, 0xFFFFFFFF)), 32, 2)
    assert isinstance(image, DataImage)
    sections = {name: data for name, data, _ in image.sections}
    assert sections["bounds"] == bytes.fromhex("0500 0700 0000 0000")
    assert image.parameter("bounds_mask") == 3
    assert image.parameter("index_bits") == 16
    assert len(sections["index"]) == 4 * (2**16 + 1)
    assert sections["index"][-4:] == (3).to_bytes(4, "little")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, (1 << 32) - 1)] * 2), max_size=8))
def test_prefixes_are_counted_as_they_are_listed(pairs: list[tuple[int, int]]) -> None:
    values = IntervalSet.of(*((min(pair), max(pair)) for pair in pairs))
    listed = len(arrays.prefixes(values)[0])
    assert arrays.count_prefixes(values) == listed
    with patch.object(arrays, "FEW_RANGES", -1):  # as of many ranges
        assert arrays.count_prefixes(values) == listed
