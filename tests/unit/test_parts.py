"""Cutting plans into parts: sizes, places, what parts are entered by, what is no cut plan."""

from __future__ import annotations

import pytest

from lockgate.compiler.match.verify import VerifyError
from lockgate.compiler.plan.ir import Leaf, Plan, successors
from lockgate.compiler.plan.parts import COMPARISON, MAX_PARTS, parts, size, split
from lockgate.compiler.plan.predict import CALL_NS, predict
from lockgate.compiler.plan.text import read, write
from lockgate.compiler.plan.verify import verify

HEAD = 'plan "edge" at xdp default pass\nrule 0 "a" drop "edge.gate" 1 1\n'


def chain(count: int) -> Plan:
    """`count` rules of two tests: the first one fails to the next rule, the second one, too."""
    last = 2 * count
    nodes = []
    for at in range(0, last, 2):
        following = at + 2 if at + 2 < last else last + 1
        nodes.append(f"{at}: eth.type in {at} ? {at + 1} : {following}\n")
        nodes.append(f"{at + 1}: meta.length in {at} ? {last} : {following} for 0\n")
    return read(f"{HEAD}{''.join(nodes)}{last}: decide 0\n{last + 1}: decide default\n")


def test_a_plan_that_fits_stays_whole() -> None:
    plan = chain(10)
    assert split(plan) is plan
    assert parts(plan) == []
    assert "part" not in write(plan)


def test_parts_are_as_small_as_is_asked() -> None:
    plan = split(chain(50), 12 * COMPARISON.insns)
    verify(plan)
    found = parts(plan)
    assert [part.first for part in found] == list(plan.parts)
    assert found[-1].end == 100
    sizes = [sum(size(node, plan).insns for node in plan.nodes[p.first : p.end]) for p in found]
    assert max(sizes) <= 12 * COMPARISON.insns
    assert min(sizes[:-1]) >= 6 * COMPARISON.insns


def test_cuts_are_made_between_rules() -> None:
    """In the middle of a rule two ways lead on: to its next test and to the next rule."""
    plan = split(chain(50), 13 * COMPARISON.insns)
    assert {at % 2 for at in plan.parts} == {0}
    assert all(part.entries == (part.first,) for part in parts(plan))


def test_a_part_is_entered_wherever_an_earlier_one_leads() -> None:
    """IPv4 and the rest begin in different parts, and part 0 knows both."""
    text = (
        "part\n0: eth.type in 0x0800 ? 1 : 3\n1: meta.length in 1 ? 6 : 2\n"
        "part\n2: meta.length in 2 ? 6 : 5\n3: meta.length in 3 ? 6 : 4\n"
        "part\n4: meta.length in 4 ? 6 : 5\n5: meta.length in 5 ? 6 : 7\n6: decide 0\n7: decide default\n"
    )
    plan = read(HEAD + text)
    verify(plan)
    assert write(plan).endswith(text)
    assert [part.entries for part in parts(plan)] == [(0,), (2, 3), (4, 5)]


def test_every_way_stays_in_a_part_or_leads_to_an_entry_of_a_later_one() -> None:
    plan = split(chain(40), 7 * COMPARISON.insns)
    found = parts(plan)
    for number, part in enumerate(found):
        for at in range(part.first, part.end):
            for to in successors(plan.nodes[at]):
                inside = part.first < to < part.end
                later = any(to in other.entries for other in found[number + 1 :])
                assert inside or later or isinstance(plan.nodes[to], Leaf)


def test_there_are_never_more_parts_than_the_kernel_takes_functions() -> None:
    plan = split(chain(2_000), 1)
    assert 50 < len(plan.parts) <= MAX_PARTS


def test_each_call_has_its_price() -> None:
    """Nodes 0, 2, 4, … and a leaf; cut, decoder, epilogue and three parts are called."""
    plan, way = chain(40), [*range(0, 44, 2), 81]
    cut = split(plan, 20 * COMPARISON.insns)
    assert cut.parts[2] < 42 < cut.parts[3]
    assert predict(cut, [way]).ns == pytest.approx(predict(plan, [way]).ns + 5 * CALL_NS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "0: eth.type in 1 ? 2 : 1\npart\n1: eth.type in 2 ? 2 : 3\n2: decide 0\n3: decide default",
            "from 0",
        ),
        ("part\n0: eth.type in 1 ? 1 : 2\npart\n1: decide 0\n2: decide default", "inner nodes"),
        (
            "part\n0: eth.type in 1 ? 1 : 2\n1: decide 0\n2: eth.type in 2 ? 3 : 4\n3: decide 0\n"
            "4: decide default",
            "leaves",
        ),
    ],
)
def test_what_is_no_cut_plan_is_refused(text: str, message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        verify(read(HEAD + text))
