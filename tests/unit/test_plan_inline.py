from __future__ import annotations

import random

import pytest

from lockgate.compiler.plan.builder import Builder
from lockgate.compiler.plan.inline import inline
from lockgate.compiler.plan.ir import Between, Branch, InTable, Leaf
from lockgate.stdlib_bpf.sets import IntervalSet

IN, OUT = 0, 1


def members(values: IntervalSet, invertible: bool) -> tuple[set[int], int]:
    """The bytes that the inline form lets in, and the number of its nodes."""
    builder = Builder()
    yes, no = builder.leaf(IN), builder.leaf(OUT)
    entry = inline("icmp.type", values, 8, invertible).emit(builder, yes, no, None)
    nodes = builder.finish(entry)
    found = set()
    for value in range(256):
        node = nodes[0]
        while isinstance(node, Branch):
            test = node.test
            assert not isinstance(test, InTable)
            if isinstance(test, Between):
                holds = test.low <= value <= test.high
            else:
                holds = value & test.mask == test.value
            node = nodes[node.yes if holds else node.no]
        assert isinstance(node, Leaf)
        if node.rule == IN:
            found.add(value)
    return found, len(nodes) - 2


@pytest.mark.parametrize("invertible", [True, False])
@pytest.mark.parametrize("ranges", [1, 2, 8, 9, 10, 20, 60])
def test_every_form_is_membership(ranges: int, invertible: bool) -> None:
    source = random.Random(ranges)
    for _ in range(60):
        lows = [source.choice((0, 255, source.randrange(256), source.randrange(256))) for _ in range(ranges)]
        values = IntervalSet.from_ranges((low, min(255, low + source.randrange(3))) for low in lows)
        assert members(values, invertible)[0] == {value for value in range(256) if value in values}


def test_many_ranges_make_a_shallow_tree() -> None:
    values = IntervalSet.of(*range(1, 255, 2))
    form = inline("th.dport", values, 16, invertible=True)
    assert form.nodes == 2 * len(values)
    assert form.latency_ns < form.nodes / 10


@pytest.mark.parametrize(
    ("values", "nodes"),
    [
        (IntervalSet.of(22), 1),
        (IntervalSet.of(22).complement(8), 1),
        (IntervalSet.of(*(value for value in range(256) if value & 0x12 == 2)), 1),
        (IntervalSet.of(*(value for value in range(256) if value & 3)), 1),
        (IntervalSet.of((0, 127)), 1),
        (IntervalSet.of(3, 5, 9), 3),
    ],
)
def test_simple_sets_take_few_comparisons(values: IntervalSet, nodes: int) -> None:
    assert members(values, invertible=True)[1] == nodes
