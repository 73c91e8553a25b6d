"""When a backend is thought to fail: after so many failures in a row, and until so many answers in a row."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lockgate.runtime.backends import Place
from lockgate.runtime.health import Check, Health, port_of
from lockgate.stdlib_bpf.balance.services import Backend, Front, Service

PLACE = Place("s", Backend("10.0.0.1"))


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 4), st.integers(1, 4))
def test_it_takes_so_many_alike_in_a_row(answers: list[bool], rise: int, fall: int) -> None:
    health, fails = Health(Check(rise=rise, fall=fall)), False
    for number, good in enumerate(answers, 1):
        changed = health.heard({PLACE: good}, {PLACE: fails})
        row = [answer == good for answer in reversed(answers[:number])]
        alike = row.index(False) if False in row else number
        assert changed == ({PLACE: not good} if fails is good and alike >= (rise if good else fall) else {})
        fails = changed.get(PLACE, fails)


def test_a_policy_that_was_replaced_hears_it_again() -> None:
    health = Health(Check(fall=2))
    assert [health.heard({PLACE: False}, {PLACE: False}) for _ in range(2)] == [{}, {PLACE: True}]
    assert health.heard({PLACE: False}, {PLACE: True}) == {}
    assert health.heard({PLACE: False}, {PLACE: False}) == {PLACE: True}


def test_a_backend_is_asked_where_clients_are_sent() -> None:
    both = Service("s", ("10.0.0.9",), (Front(17, 53, 5353), Front(6, 443, 8443)), ())
    assert port_of(Check(), both, Backend("10.0.0.1")) == 8443
    assert port_of(Check(), both, Backend("10.0.0.1", 80)) == 80
    assert port_of(Check(port=9), both, Backend("10.0.0.1", 80)) == 9
    assert (
        port_of(Check(), Service("s", ("10.0.0.9",), (Front(17, 53, 53),), ()), Backend("10.0.0.1")) is None
    )
