"""Every tag structure tells which members hold a key, by its model, in native code and in the kernel."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.compiler.plan.parts import PART_INSNS
from lockgate.runtime import bundle
from lockgate.runtime.testrun import load_chain
from lockgate.stdlib_bpf import tags
from lockgate.stdlib_bpf.decode.frame import Frame
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.tables import range_index, range_tree
from lockgate.stdlib_bpf.tags import MAX_MEMBERS, Tagger
from tests import engines

from .table_sets import drawn, keys
from .test_table_engines import ADDRESSES, EDGES, frame
from .test_tables import value_sets

BLOCKS = [
    pytest.param(block, width, id=f"{kind}-{width}")
    for kind, block in tags.ALL.items()
    for width in sorted(block.WIDTHS)
]
RANGES = {32: range_index, 128: range_tree}  # blocks whose sets are drawn


def tag(members: Sequence[IntervalSet], key: int) -> int:
    """What a structure must say."""
    return sum((key in values) << place for place, values in enumerate(members))


def drawn_members(seed: str, width: int, count: int, members: int) -> list[IntervalSet]:
    """Sets that overlap: each is drawn, and takes some ranges of the one before it."""
    found: list[IntervalSet] = []
    for number in range(members):
        own = drawn(f"{seed} {number}", RANGES[width], width, count)
        found.append(IntervalSet.from_ranges((*own.ranges, *(found[-1].ranges[::3] if found else ()))))
    return found


def asked(members: Sequence[IntervalSet], width: int, count: int) -> list[int]:
    """Keys at the ends of each member's ranges, and others."""
    return [key for values in members for key in keys(values, width, count // len(members))]


@pytest.mark.parametrize(("block", "width"), BLOCKS)
@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_a_tag_has_a_bit_for_each_member(block: Tagger, width: int, data: st.DataObject) -> None:
    members = data.draw(st.lists(value_sets(width, False), min_size=1, max_size=5))
    image = block.build(members, width)
    keys = data.draw(st.lists(st.integers(0, (1 << width) - 1), max_size=20))
    keys += [e + step for m in members for ends in m.ranges for e in ends for step in (-1, 0, 1)]
    for key in keys:
        if 0 <= key < 1 << width:
            assert block.model(image, key, width) == tag(members, key)


@pytest.mark.parametrize(("block", "width"), BLOCKS)
@pytest.mark.parametrize("members", [1, 2, MAX_MEMBERS])
def test_sets_that_are_spread_out(block: Tagger, width: int, members: int) -> None:
    found = drawn_members("model", width, 3_000 // members, members)
    image = block.build(found, width)
    assert not [k for k in asked(found, width, 2_000) if block.model(image, k, width) != tag(found, k)]
    for _, data, element in image.sections:
        assert len(data) % element == 0
    assert block.build(found, width) == image
    assert block.cost(sum(map(len, found)), width).latency_ns > 0


@pytest.mark.parametrize(("block", "width"), BLOCKS)
def test_nothing_is_in_no_sets_and_there_are_not_too_many(block: Tagger, width: int) -> None:
    assert block.model(block.build([], width), 5, width) == 0
    assert block.model(block.build([IntervalSet()], width), 5, width) == 0
    whole = [IntervalSet.full(width), IntervalSet()]
    image = block.build(whole, width)
    assert {block.model(image, key, width) for key in (0, 1 << (width - 1), (1 << width) - 1)} == {1}
    with pytest.raises(ValueError, match="16 sets, not of 17"):
        block.build([IntervalSet.of(1)] * (MAX_MEMBERS + 1), width)
    with pytest.raises(ValueError, match="bits"):
        block.build([IntervalSet.of(1)], 16)


def opened(
    block: Tagger, width: int, members: Sequence[IntervalSet], part_insns: int = PART_INSNS
) -> engines.Opened:
    """A policy with a rule for each member: a chain of bits, each
    asked of packets to a port of its own."""
    kind = ADDRESSES[width][1]
    files, lines, rules = {}, [], []
    for number, values in enumerate(members):
        files[f"m{number}.txt"] = "".join(f"{kind(v)}/{length}\n" for v, length in values.prefixes(width))
        lines.append(f'network m{number} = file "m{number}.txt"')
        rules.append(f"  m-{number}: drop udp from m{number} to port {1000 + number}")
    policy = ['policy edge at xdp on "lo" {', "  default pass  fragments first-only", *rules, "}"]
    source = "\n".join([*lines, *policy]) + "\n"
    case = engines.Case(source, (), files=files, structures=frozenset({block.KIND}), part_insns=part_insns)
    return engines.Opened(case)


def wrong(
    block: Tagger,
    width: int,
    members: Sequence[IntervalSet],
    wanted: Iterator[int],
    kernel: bool,
    part_insns: int = PART_INSNS,
) -> list[str]:
    """Keys that native code, or the kernel, does not answer as the members do; of each a member by turns."""
    cases = [(key, number % len(members)) for number, key in enumerate(wanted)]
    frames = [_to_port(frame(width, key), 1000 + place) for key, place in cases]
    with opened(block, width, members, part_insns) as it:
        (found,) = it.session.plan(it.chain).tags
        assert bool(it.session.plan(it.chain).parts) == (part_insns != PART_INSNS)
        assert found.kind == block.KIND and len(found.members) == len(members)
        if kernel:
            with load_chain(bundle.parse(it.session.bundle()), it.chain.name) as loaded:
                dropped = [ran is not None and ran.value == 1 for ran in loaded.run(frames)]
        else:
            with it.session.native(it.chain) as native:
                dropped = [d.verdict == "drop" for d in native.run([Frame(f) for f in frames])]
    return [
        f"{key:#x} {place}"
        for (key, place), d in zip(cases, dropped, strict=True)
        if d != (key in members[place])
    ]


def _to_port(data: bytes, port: int) -> bytes:
    return data[:-6] + port.to_bytes(2) + data[-4:]


def groups(width: int, count: int) -> Iterator[list[IntervalSet]]:
    """The special cases of all structures, together, and drawn sets."""
    yield [IntervalSet.of(*ranges) for ranges in EDGES[width]]
    yield drawn_members("engines", width, count, 6)


@pytest.mark.parametrize(("block", "width"), BLOCKS)
def test_native_code_knows_the_members(block: Tagger, width: int) -> None:
    for members in groups(width, 700):
        assert not wrong(block, width, members, iter(asked(members, width, 6_000)), kernel=False)


@pytest.mark.kernel
@pytest.mark.parametrize(("block", "width"), BLOCKS)
def test_the_kernel_knows_the_members(block: Tagger, width: int) -> None:
    for members in groups(width, 200):
        assert not wrong(block, width, members, iter(asked(members, width, 1_000)), kernel=True)


@pytest.mark.kernel
@pytest.mark.parametrize(("block", "width"), BLOCKS)
def test_parts_of_a_program_share_what_was_looked_up(block: Tagger, width: int) -> None:
    members = drawn_members("parts", width, 100, MAX_MEMBERS)
    for kernel in (False, True):
        assert not wrong(block, width, members, iter(asked(members, width, 500)), kernel, part_insns=100)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("block", "width"), BLOCKS)
def test_models_on_a_million_keys(block: Tagger, width: int) -> None:
    members = drawn_members("many", width, 25_000, 4)
    image = block.build(members, width)
    wanted = asked(members, width, 1_000_000)
    assert not [key for key in wanted if block.model(image, key, width) != tag(members, key)]


@pytest.mark.exhaustive
@pytest.mark.parametrize(("block", "width"), BLOCKS)
def test_native_code_on_a_million_keys(block: Tagger, width: int) -> None:
    members = drawn_members("many", width, 25_000, 4)
    wanted = asked(members, width, 1_000_000)
    random.Random(1).shuffle(wanted)
    assert not wrong(block, width, members, iter(wanted), kernel=False)
