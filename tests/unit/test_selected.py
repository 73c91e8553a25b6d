"""Rules that name selections of endpoints: every form asks about the right end of a packet."""

from __future__ import annotations

from itertools import product

import pytest

from lockgate.compiler.match import run as match_run
from lockgate.compiler.match import text as match_text
from lockgate.compiler.match.lower import lower
from lockgate.compiler.match.verify import VerifyError, verify
from lockgate.compiler.plan import lower as plan_lower
from lockgate.compiler.plan import text as plan_text
from lockgate.compiler.plan.run import Runner
from lockgate.compiler.plan.verify import verify as verify_plan
from lockgate.compiler.policy import decide
from lockgate.compiler.policy.model import Chain, Minus, Network, Not, Prefixes, Rule, Selected, Union
from lockgate.compiler.source import Source, Span
from lockgate.stdlib_bpf.decode.frame import Facts
from lockgate.stdlib_bpf.fields import DIRECTIONS
from lockgate.stdlib_bpf.labels import CLUSTER, NODES
from lockgate.stdlib_bpf.sets import IntervalSet

SPAN = Span(Source("s.gate", "rule"), 0, 4)
TEN = Prefixes(IntervalSet.of((10 << 24, (11 << 24) - 1)))
NETWORKS: dict[str, Network] = {
    "one": Selected(0),
    "either": Union(Selected(0), Selected(1)),
    "without": Minus(Selected(0), Selected(1)),
    "neither": Not(Union(Selected(0), Selected(1))),
    "in ten": Minus(TEN, Selected(1)),
}


def chain(network: Network, side: str, direction: str) -> Chain:
    rule = Rule(SPAN, "drop", direction=direction, **{side: network})
    return Chain("e", "endpoint", "", (), "allow", (rule,), SPAN, selections=(CLUSTER, NODES))


def packets() -> list[Facts]:
    found = []
    for bits in product((0, 1), repeat=5):
        facts = dict(zip(("flow.direction", "peer#0", "peer#1", "subject#0", "subject#1"), bits, strict=True))
        addresses = {"ip4.src": 10 << 24, "ip4.dst": (10 << 24) + 1}, {"ip6.src": 1, "ip6.dst": 2}
        found += [facts | {"eth.type": 0x0800, "ip.proto": 6} | addresses[0]]
        found += [facts | {"eth.type": 0x86DD, "ip.proto": 6} | addresses[1]]
    return [*found, {"eth.type": 0x0806, "flow.direction": 0, "subject#0": 1, "subject#1": 0}]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("side", ["src", "dst"])
@pytest.mark.parametrize("name", NETWORKS)
def test_all_forms_agree(name: str, side: str, direction: str) -> None:
    policy = chain(NETWORKS[name], side, direction)
    program = lower(policy)
    verify(program)
    assert match_text.write(match_text.read(match_text.write(program))) == match_text.write(program)
    plan = plan_lower.lower(program)
    verify_plan(plan)
    assert plan_text.read(plan_text.write(plan)).nodes == plan.nodes
    runner = Runner(plan)
    verdicts = set()
    for facts in packets():
        expected = decide(policy, facts, {})
        assert match_run.run(program, facts, {}) == expected
        assert runner.run(facts, {}) == expected
        verdicts.add(expected.verdict)
    assert verdicts == {"allow", "drop"}


@pytest.mark.parametrize(
    ("side", "direction", "end"),
    [
        ("src", "ingress", "peer"),
        ("dst", "ingress", "subject"),
        ("src", "egress", "subject"),
        ("dst", "egress", "peer"),
    ],
)
def test_the_end_that_is_asked(side: str, direction: str, end: str) -> None:
    policy = chain(Selected(0), side, direction)
    for facts in packets():
        asked = facts.get(f"{end}#0") == 1 and facts["eth.type"] != 0x0806
        wanted = asked and facts["flow.direction"] == DIRECTIONS.index(direction)
        assert (decide(policy, facts, {}).verdict == "drop") == wanted


def test_a_selection_must_exist() -> None:
    policy = chain(Selected(2), "src", "ingress")
    with pytest.raises(VerifyError, match="there is no selection 2"):
        verify(lower(policy))
