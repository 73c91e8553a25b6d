"""Every classifier finds the first box that holds a key, as a walk over the list does."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.stdlib_bpf import classifiers
from lockgate.stdlib_bpf.classifiers import Box, Boxes, Classifier, rule_tree
from lockgate.stdlib_bpf.classifiers.rule_tree import dimensions, layout

WIDTHS = ((32, 32, 8, 16, 16), (32, 16), (128, 128, 8, 16, 16), (8,), (16, 128))
BLOCKS = [pytest.param(block, id=kind) for kind, block in classifiers.ALL.items()]
COMMON_PORTS = (22, 53, 80, 443, 1023, 1024, 65535)


@st.composite
def box_lists(draw: st.DrawFn, most: int = 60) -> Boxes:
    """Lists that crowd, overlap and repeat: few networks, wide and narrow ranges, hidden boxes."""
    widths = draw(st.sampled_from(WIDTHS))
    rng = random.Random(draw(st.integers(0, 1 << 32)))
    pools = [_pool(rng, width) for width in widths]
    count = draw(st.integers(1, most))
    wide = draw(st.sampled_from((0.1, 0.5, 0.8)))
    boxes = []
    rule = 0
    for _ in range(count):
        ranges = [_range(rng, width, pool, wide) for width, pool in zip(widths, pools, strict=True)]
        rule += rng.choice((0, 1, 1, 1, 5))
        boxes.append(Box(rule, tuple(ranges), rule % 7))
    return Boxes(widths, tuple(boxes))


def _pool(rng: random.Random, width: int) -> list[int]:
    if width == 16:
        return list(COMMON_PORTS)
    top = (1 << width) - 1
    near = rng.getrandbits(width)
    return [0, top, *(near ^ rng.getrandbits(min(width, 12)) for _ in range(6)), rng.getrandbits(width)]


def _range(rng: random.Random, width: int, pool: Sequence[int], wide: float) -> tuple[int, int]:
    top = (1 << width) - 1
    if rng.random() < wide:
        return 0, top
    value = rng.choice(pool)
    free = rng.choice((0, 0, 1, 4, width // 2, width - 1))
    if width > 64 or rng.random() < 0.6:  # a prefix
        low = value >> free << free
        return low, low | (1 << free) - 1
    return value, min(top, value + rng.getrandbits(max(1, free)))


def first(boxes: Boxes, key: Sequence[int]) -> tuple[int, int] | None:
    """What a classifier means."""
    for box in boxes.boxes:
        if all(low <= value <= high for value, (low, high) in zip(key, box.ranges, strict=True)):
            return box.rule, box.code
    return None


def keys(boxes: Boxes, rng: random.Random, count: int) -> list[tuple[int, ...]]:
    """Keys inside boxes, at their edges and one off."""
    out = []
    for _ in range(count):
        box = rng.choice(boxes.boxes)
        key = []
        for width, (low, high) in zip(boxes.widths, box.ranges, strict=True):
            other = rng.choice(boxes.boxes).ranges[len(key)]
            value = rng.choice((low, high, rng.randint(low, high), low - 1, high + 1, *other))
            key.append(min(max(value, 0), (1 << width) - 1))
        out.append(tuple(key))
    return out


@pytest.mark.parametrize("block", BLOCKS)
@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_the_first_box_decides(block: Classifier, data: st.DataObject) -> None:
    boxes = data.draw(box_lists())
    image = block.build(boxes)
    for key in keys(boxes, random.Random(data.draw(st.integers(0, 1000))), 60):
        assert block.model(image, boxes.widths, key) == first(boxes, key), key


@pytest.mark.exhaustive
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize("block", BLOCKS)
def test_the_first_of_thousands_decides(block: Classifier, widths: tuple[int, ...]) -> None:
    rng = random.Random(repr(widths))
    pools = [[rng.getrandbits(width) for _ in range(500)] for width in widths]
    boxes = Boxes(
        widths,
        tuple(
            Box(n, tuple(_range(rng, w, p, 0.3) for w, p in zip(widths, pools, strict=True)), n % 256)
            for n in range(3000)
        ),
    )
    image = block.build(boxes)
    for key in keys(boxes, rng, 5000):
        assert block.model(image, widths, key) == first(boxes, key), key


@pytest.mark.parametrize("block", BLOCKS)
def test_the_same_boxes_give_the_same_bytes(block: Classifier) -> None:
    boxes = Boxes((32, 16), tuple(Box(n, ((n << 8, n << 8 | 255), (0, n * 7))) for n in range(300)))
    assert block.build(boxes) == block.build(boxes)
    assert block.cost(boxes).latency_ns > 0


def test_an_address_of_ipv6_is_four_dimensions() -> None:
    assert [(d.of, d.shift, d.bits) for d in dimensions((16, 128))] == [
        (0, 0, 16), (1, 96, 32), (1, 64, 32), (1, 32, 32), (1, 0, 32),
    ]  # fmt: skip


def test_entries_are_packed_by_width() -> None:
    place = layout((32, 32, 8, 16, 16), 0b00001)
    found = [(one.at, one.size, one.reach_at, one.reach_size) for one in place.places]
    assert found == [(4, 4, 24, 1), (8, 4, 12, 4), (25, 1, 26, 1), (16, 2, 18, 2), (20, 2, 22, 2)]
    assert place.size == 28


def test_prefixes_are_kept_as_their_free_bits() -> None:
    """Of the first field all boxes ask for prefixes, of the second one does not."""
    boxes = [Box(n, ((n << 8, n << 8 | 255), (n << 8, (n << 8) + 255 + n // 9)), 1) for n in range(10)]
    image = rule_tree.build(Boxes((32, 32), tuple(boxes)))
    assert image.parameter("prefixes") == 0b01
    assert rule_tree.model(image, (32, 32), (9 << 8 | 255, (9 << 8) + 256)) == (9, 1)
    assert rule_tree.model(image, (32, 32), (10 << 8, 9 << 8)) is None
