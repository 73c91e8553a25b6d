"""A policy may have any name, also that of something in its object."""

from __future__ import annotations

import pytest

from lockgate.runtime import bundle as bundles
from lockgate.runtime import plan

from ..kernel.policies import UDP, bundle, chain, rule

TAKEN = ["counters", "events", "previous", "generation_now", "generation_own", "xdp", "license", "_license"]


@pytest.mark.parametrize("name", TAKEN)
def test_a_policy_named_like_a_part_of_its_object(name: str) -> None:
    logged = rule("drop", "logged", proto=UDP, dport=514, sample=1)
    made = plan.make(bundles.parse(bundle("edge", chain(name, "xdp", "lan0", "pass", logged))))
    assert [p.chain for p in made.programs] == [name]


def test_a_policy_of_connect_named_like_its_arrays() -> None:
    made = plan.make(bundles.parse(bundle("edge", chain("previous", "connect", "some", "allow"))))
    assert len({p.function.name for p in made.programs}) == 4
