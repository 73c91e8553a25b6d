"""How a list of matches falls into pieces: runs for classifiers, and what stands between them."""

from __future__ import annotations

import pytest

from lockgate.compiler.match.ir import RuleInfo
from lockgate.compiler.plan.classify import Side, pieces
from lockgate.compiler.plan.ir import Classifier
from lockgate.compiler.plan.protocols import narrowed, worthwhile
from lockgate.compiler.plan.specialise import Conjunction
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state.limits import Limit

TCP, SIDE = ("l4.proto", IntervalSet.of(6)), Side(4, True, "xdp")
PLAIN = RuleInfo("plain", "drop", "p.gate", 1)
LIMITED = RuleInfo("limited", "drop", "p.gate", 1, limit=Limit(1, 1, 1))


def to_port(rule: int, port: int) -> Conjunction:
    return Conjunction(rule, (TCP, ("th.dport", IntervalSet.of(port))))


def cut(*rules: tuple[RuleInfo, int]) -> list[list[int]]:
    """Rules of each piece."""
    matches = [to_port(number, port) for number, (_, port) in enumerate(rules)]
    found = pieces(matches, [rule for rule, _ in rules], SIDE, True)
    return [[b.rule for b in p.boxes] if isinstance(p, Classifier) else [p.rule] for p in found]


def test_a_rule_that_shares_no_packet_with_a_run_stands_before_it() -> None:
    assert cut((PLAIN, 1), (PLAIN, 2), (LIMITED, 3), (PLAIN, 3), (PLAIN, 4)) == [[2], [0, 1, 3, 4]]


def test_a_rule_that_shares_packets_with_a_run_ends_it() -> None:
    assert cut((PLAIN, 1), (PLAIN, 2), (LIMITED, 2), (PLAIN, 3)) == [[0, 1], [2], [3]]


def test_what_a_classifier_does_not_know_keeps_a_match_out_of_it() -> None:
    ttl = Conjunction(1, (TCP, ("ip.ttl", IntervalSet.of(1))))
    found = list(pieces([to_port(0, 1), ttl, to_port(2, 2)], [PLAIN] * 3, SIDE, True))
    assert [isinstance(piece, Classifier) for piece in found] == [True, False, True]


def test_a_short_run_stays_a_chain() -> None:
    matches = [to_port(n, n + 1) for n in range(20)]
    assert list(pieces(matches, [PLAIN] * 20, SIDE, False)) == matches


def test_packets_of_one_protocol_are_spared_the_matches_of_others() -> None:
    udp, later = ("l4.proto", IntervalSet.of(17)), ("ip.proto", IntervalSet.of(6, 17, 47))
    port = ("th.dport", IntervalSet.of(53))
    matches = [Conjunction(0, (TCP, port)), Conjunction(1, (udp, port)), Conjunction(2, (later,))]
    assert narrowed(matches, 6) == [Conjunction(0, (port,)), Conjunction(2, ())]
    assert narrowed(matches, 17) == [Conjunction(1, (port,)), Conjunction(2, ())]
    assert narrowed(matches, None) == [Conjunction(2, (later,))]  # later fragments have no `l4.proto`


def test_kinds_go_apart_where_packets_are_spared_enough() -> None:
    ports = [("th.dport", IntervalSet.of(n + 1)) for n in range(60)]
    halves = [(TCP, ("l4.proto", IntervalSet.of(17)))[n % 2] for n in range(60)]
    both = [Conjunction(n, (guard, port)) for n, (guard, port) in enumerate(zip(halves, ports, strict=True))]
    assert worthwhile(both) and not worthwhile(both[:10])
    assert not worthwhile([to_port(n, n + 1) for n in range(8)])


@pytest.mark.parametrize(
    ("protocols", "ranges"),
    [((6, 17), [(6, 17)]), ((6, 132), [(6, 6), (132, 132)]), ((6, 17, 132), [(6, 132)]), ((17,), [(17, 17)])],
)
def test_protocols_between_which_no_other_has_ports_are_one_box(
    protocols: tuple[int, ...], ranges: list[tuple[int, int]]
) -> None:
    asked = ("l4.proto", IntervalSet.of(*protocols))
    (found,) = pieces([Conjunction(0, (asked,))], [PLAIN], SIDE, True)
    assert isinstance(found, Classifier)
    assert [box.ranges[2] for box in found.boxes] == ranges
