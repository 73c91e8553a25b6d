"""The reference of flows: what follows, what is asked, what is invalid, and for how long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lockgate.compiler.decision import DEFAULT, FOLLOWS, INVALID, SPOOFED, UNJUDGED, Decision
from lockgate.compiler.policy import decide
from lockgate.compiler.policy.model import Chain, FieldTest, Prefixes, Selected, Traffic
from lockgate.compiler.stateful import Stateful
from lockgate.stdlib_bpf.decode.frame import Frame
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state import flows
from tests.flowing import (
    A4,
    A6,
    A_IF,
    B4,
    B6,
    HOST4,
    HOST_IN,
    HOST_OUT,
    IN,
    NODE4,
    OUT,
    PODS,
    WORLD4,
    chain,
    endpoints,
    error,
    icmp,
    packet,
    rule,
    seen,
)

STRICT = FieldTest("flow.opens", IntervalSet.of(1))
TCP, UDP = Traffic(protocols=IntervalSet.of(6)), Traffic(protocols=IntervalSet.of(17))
EIGHTY = rule(
    "allow", traffic=(TCP, UDP), dports=IntervalSet.of(80), direction="ingress", src=Selected(0), where=STRICT
)


class Run:
    """A chain that meets packets."""

    def __init__(self, policy: Chain) -> None:
        self.policy, self.state = policy, Stateful.of(policy, endpoints())

    def __call__(self, frame: Frame, point: str = IN, at_s: float = 0.0) -> Decision:
        return self.state.decide(seen(frame, point, A_IF, at_s), lambda facts: decide(self.policy, facts, {}))


@pytest.fixture
def run() -> Run:
    return Run(chain(EIGHTY, selections=(PODS,)))


FOLLOWED, WRONG = Decision("allow", FOLLOWS), Decision("drop", INVALID)
ALLOWED, DENIED = Decision("allow", 0), Decision("drop", DEFAULT)


def there(flags: str, sport: int = 5000, port: int = 80) -> Frame:
    return packet("tcp", B4, sport, A4, port, flags)


def back(flags: str, sport: int = 5000, port: int = 80) -> Frame:
    return packet("tcp", A4, port, B4, sport, flags)


def handshake(run: Run) -> None:
    assert run(there("syn")) == ALLOWED
    assert run(back("syn,ack"), OUT) == FOLLOWED
    assert run(there("ack")) == FOLLOWED


def only(run: Run) -> flows.Flow:
    (flow,) = run.state.flows.values()
    return flow


def test_a_connection_from_syn_to_the_last_ack(run: Run) -> None:
    handshake(run)
    assert only(run).state == flows.CONFIRMED | flows.ANSWERED
    for frame, point in (
        (there("fin,ack"), IN),
        (back("ack"), OUT),
        (back("fin,ack"), OUT),
        (there("ack"), IN),
    ):
        assert run(frame, point, 1) == FOLLOWED
    assert flows.closed(only(run).state)
    assert run(there("ack"), at_s=120.9) == FOLLOWED
    assert run(there("ack"), at_s=121) == DENIED  # packets behind the end do not make it last longer


def test_what_a_handshake_may_not_contain(run: Run) -> None:
    for flags in ("ack", "syn,ack", "rst", "fin,ack", "syn,fin"):
        assert run(there(flags)) == DENIED, flags
    assert not run.state.flows
    assert run(there("syn")) == ALLOWED
    for flags in ("ack", "syn,ack", "fin,ack", "syn,fin", "syn,rst", "fin"):
        assert run(there(flags)) == WRONG, flags
    for flags in ("fin,ack", "fin", "syn,fin"):
        assert run(back(flags), OUT) == WRONG, flags
    assert run(there("syn")) == FOLLOWED  # once more, since no answer came


def test_a_forged_address_confirms_nothing(run: Run) -> None:
    assert run(there("syn")) == ALLOWED
    assert run(back("syn,ack"), OUT) == FOLLOWED
    assert not only(run).state & flows.CONFIRMED


def test_both_ends_may_open_at_once(run: Run) -> None:
    assert run(there("syn")) == ALLOWED
    assert run(back("syn"), OUT) == FOLLOWED
    assert run(there("syn,ack")) == FOLLOWED
    assert run(back("syn,ack"), OUT) == FOLLOWED
    assert run(there("ack")) == FOLLOWED
    assert only(run).state & flows.CONFIRMED


def test_ports_are_used_again(run: Run) -> None:
    handshake(run)
    assert run(there("syn")) == ALLOWED  # asked anew; the flow stays as it is
    assert only(run).state == flows.CONFIRMED | flows.ANSWERED
    assert run(back("syn"), OUT) == DENIED
    assert run(there("rst"), at_s=1) == FOLLOWED
    assert run(there("syn"), at_s=2) == ALLOWED
    assert only(run).state == 0


def test_a_reset_holds_unless_its_sender_goes_on(run: Run) -> None:
    handshake(run)
    assert run(there("rst"), at_s=1) == FOLLOWED
    assert run(back("ack"), OUT, 10) == FOLLOWED
    assert run(back("ack"), OUT, 11) == DENIED
    handshake(run := Run(run.policy))
    assert run(there("rst"), at_s=1) == FOLLOWED  # forged
    assert run(there("ack"), at_s=2) == FOLLOWED
    assert run(there("ack"), at_s=2000) == FOLLOWED


@pytest.mark.parametrize(("after_s", "decision"), [(7439.9, FOLLOWED), (7440, DENIED)])
def test_silence(run: Run, after_s: float, decision: Decision) -> None:
    handshake(run)
    assert run(there("ack"), at_s=after_s) == decision


def test_datagrams_and_echoes(run: Run) -> None:
    assert run(packet("udp", B4, 5000, A4, 80)) == ALLOWED
    assert run(packet("udp", B4, 5000, A4, 80)) == FOLLOWED
    assert not only(run).state & flows.CONFIRMED  # however often it asks
    assert run(packet("udp", A4, 80, B4, 5000), OUT, 29) == FOLLOWED
    assert not only(run).state & flows.CONFIRMED
    assert run(packet("udp", B4, 5000, A4, 80), IN, 148) == FOLLOWED
    assert only(run).state & flows.CONFIRMED
    assert run(packet("udp", A4, 80, B4, 5001), OUT, 148) == DENIED
    ping = Run(
        chain(rule("allow", traffic=(Traffic(icmp_types=IntervalSet.of(8), protocols=IntervalSet.of(1)),)))
    )
    assert ping(icmp(A4, B4, 0, 7), OUT) == DENIED
    assert ping(icmp(B4, A4, 8, 7)) == ALLOWED
    assert ping(icmp(A4, B4, 0, 8), OUT) == DENIED
    assert ping(icmp(A4, B4, 0, 7), OUT) == FOLLOWED
    assert ping(icmp(A4, B4, 8, 7), OUT) == ALLOWED  # the other way it is another flow
    assert len(ping.state.flows) == 2


@pytest.mark.parametrize(("one", "two"), [(A4, B4), (A6, B6)])
def test_errors_follow_what_they_quote(run: Run, one: str, two: str) -> None:
    first = packet("tcp", two, 5000, one, 80, "syn")
    assert run(first) == ALLOWED
    answer = packet("tcp", one, 80, two, 5000, "syn,ack")
    assert run(error(two, one, answer)) == FOLLOWED
    assert run(error(one, two, first), OUT) == FOLLOWED
    other = packet("tcp", one, 81, two, 5000, "syn,ack")
    assert run(error(two, one, other)) == DENIED
    assert run(error(two, one, first)) == DENIED  # its own packet comes back to whoever did not send it
    redirect = 5 if one == A4 else 137
    assert run(error(two, one, answer, redirect)) == DENIED
    assert run(error(two, one, answer), at_s=60) == DENIED


def test_changes_are_judged_again(run: Run) -> None:
    handshake(run)
    run.state.endpoints = endpoints(version=1)
    assert run(back("ack"), OUT) == ALLOWED  # by the rule, as the opener's packet was
    assert run(back("ack"), OUT) == FOLLOWED
    run.state.endpoints = endpoints(version=2, b=frozenset())
    assert run(back("ack"), OUT) == DENIED
    assert not run.state.flows
    handshake(run := Run(run.policy))
    run.state.generation, run.policy = 1, chain(selections=(PODS,))
    assert run(there("ack")) == DENIED


def test_what_opens_no_flow() -> None:
    run = Run(chain(rule("allow", lasts=flows.STATELESS, direction="ingress")))
    assert run(there("syn")) == ALLOWED
    assert run(back("syn,ack"), OUT) == DENIED
    assert not run.state.flows


def test_who_is_judged(run: Run) -> None:
    unjudged, foreign = Decision("allow", UNJUDGED), Decision("drop", SPOOFED)
    assert run(packet("udp", NODE4, 1, WORLD4, 2), OUT) == foreign
    assert run(packet("udp", "0.0.0.0", 68, "255.255.255.255", 67), OUT) == DENIED
    assert run(packet("udp", A4, 1, A4, 2), OUT) == unjudged
    assert run.state.decide(seen(there("syn"), IN, 99), lambda _: ALLOWED) == foreign
    # What the host begins with its own workload passes, and so does the answer.
    assert run(packet("tcp", HOST4, 9, A4, 7000, "syn")) == unjudged
    assert run(packet("tcp", A4, 7000, HOST4, 9, "syn,ack"), OUT) == FOLLOWED
    run.state.endpoints = endpoints(version=1)
    assert run(packet("tcp", A4, 7000, HOST4, 9, "syn,ack"), OUT) == unjudged
    assert run(packet("tcp", A4, 7000, HOST4, 10, "syn"), OUT) == DENIED


def test_a_host_judges_what_is_its_own(run: Run) -> None:
    unjudged = Decision("allow", UNJUDGED)
    assert run(packet("udp", WORLD4, 1, A4, 2), HOST_IN) == unjudged
    assert run(packet("udp", A4, 1, WORLD4, 2), HOST_OUT) == unjudged
    assert run(packet("udp", WORLD4, 1, HOST4, 80), HOST_IN) == DENIED
    assert run(packet("udp", WORLD4, 1, "255.255.255.255", 68), HOST_IN) == DENIED
    assert run(packet("udp", HOST4, 1, WORLD4, 2), HOST_OUT) == DENIED
    assert run(packet("udp", HOST4, 1, A4, 2), HOST_OUT) == unjudged
    assert run(packet("udp", A4, 2, HOST4, 1), HOST_IN) == Decision("allow", FOLLOWS)


def test_addresses_are_asked_as_they_are_judged() -> None:
    run = Run(
        chain(rule("allow", src=Prefixes(IntervalSet.of((10 << 24, (11 << 24) - 1))), direction="egress"))
    )
    assert run(packet("udp", A4, 1, WORLD4, 2), OUT) == ALLOWED
    assert run(packet("udp", WORLD4, 2, A4, 1), IN) == FOLLOWED
    run.state.endpoints = replace(endpoints(), version=1)
    assert run(packet("udp", WORLD4, 2, A4, 1), IN) == ALLOWED
