"""Validation lets every sound pass and plan through, and refuses programs whose packets tell them apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.compiler import validate
from lockgate.compiler.match import equal, samples
from lockgate.compiler.match import lower as match_lower
from lockgate.compiler.match import text as match_text
from lockgate.compiler.match.ir import MatchProgram
from lockgate.compiler.match.passes import PASSES
from lockgate.compiler.match.prove import TooMuchWork
from lockgate.compiler.match.verify import verify as verify_match
from lockgate.compiler.pipeline import Pipeline
from lockgate.compiler.plan import lower as plan_lower
from lockgate.compiler.plan import reach
from lockgate.compiler.plan.run import Runner
from lockgate.compiler.plan.verify import verify as verify_plan
from lockgate.compiler.policy.model import Chain, Prefixes
from lockgate.stdlib_bpf.decode.frame import Facts
from lockgate.stdlib_bpf.state.limits import Buckets

from .programs import chains, contents, facts
from .test_passes import CHOICES, LEVEL, SAMPLES, answers


def without_one(program: MatchProgram, index: int) -> MatchProgram:
    """What a pass that drops a match too many would make."""
    return replace(program, matches=program.matches[:index] + program.matches[index + 1 :])


HITS = st.one_of(st.none(), st.dictionaries(st.integers(-1, 5), st.integers(0, 1000)))


@given(chains(), st.sampled_from(CHOICES), HITS)
@settings(deadline=None, max_examples=50)
def test_sound_passes_and_plans_are_let_through(
    chain: Chain, structures: frozenset[str] | None, hits: dict[int, int] | None
) -> None:
    def compare(_: str, before: MatchProgram, after: MatchProgram) -> None:
        assert validate.match_pass(chain, before, after).judged

    program = Pipeline(LEVEL, PASSES).run(match_lower.lower(chain), compare=compare).ir
    plan = plan_lower.lower(program, structures, hits=hits)
    verify_plan(plan)
    assert validate.planning(chain, program, plan).judged


@given(chains(), SAMPLES, contents(), st.data())
@settings(deadline=None, max_examples=100)
def test_no_doubt_is_a_proof(
    chain: Chain, packets: list[Facts], live: dict[str, Prefixes], data: st.DataObject
) -> None:
    """Where nothing is in doubt all packets are answered alike, by a match more or less and by a plan."""
    before = match_lower.lower(chain)
    if not before.matches:
        return
    after = without_one(before, data.draw(st.integers(0, len(before.matches) - 1)))
    verify_match(after)
    expected = answers(before, packets, live)
    try:
        if not list(equal.suspects(before, after)) or not list(equal.suspects(after, before)):
            assert answers(after, packets, live) == expected
        plan = plan_lower.lower(after)
        if not list(reach.suspects(before, plan)):
            runner, buckets = Runner(plan), Buckets()
            assert [runner.run(p, live, buckets) for p in packets] == expected
    except TooMuchWork:
        return


@given(chains(), st.lists(facts(), min_size=1, max_size=10), contents(), st.data())
@settings(deadline=None, max_examples=100)
def test_what_is_refused_is_wrong(
    chain: Chain, packets: list[Facts], live: dict[str, Prefixes], data: st.DataObject
) -> None:
    """A program that lacks a match is refused with two answers; one that is proved answers alike."""
    before = match_lower.lower(chain)
    if not before.matches:
        return
    after = without_one(before, data.draw(st.integers(0, len(before.matches) - 1)))
    try:
        found = validate.match_pass(chain, before, after)
    except validate.Miscompiled as wrong:
        assert "it became" in wrong.witness or "limits differ" in wrong.witness
        assert wrong.before != wrong.after
    else:
        if found.proved:
            assert answers(after, packets, live) == answers(before, packets, live)


@given(chains())
@settings(deadline=None, max_examples=50)
def test_packets_are_the_same_each_time(chain: Chain) -> None:
    program = match_lower.lower(chain)
    assert list(samples.boundary(program, 64)) == list(samples.boundary(program, 64))


LED_PAST = """matches "x" at xdp default pass
rule 0 "a" continue "x" 1 1 passing resume 2
rule 1 "b" drop "x" 2 1
rule 2 "c" drop "x" 3 1
match 0 from 0 when eth.type {0x0806}
match 1 from 1
match 2 from 2 when eth.type {0x0806}
"""


@pytest.mark.parametrize(("resume", "proved"), [("", True), (" resume 2", False)])
def test_a_rule_that_is_led_past_covers_nothing(resume: str, proved: bool) -> None:
    """ARP passes rule 0. Where that leads past rule 1, rule 2 is what decides it."""
    before = match_text.read(LED_PAST.replace(" resume 2", resume))
    after = without_one(before, 2)
    doubts = [*equal.suspects(before, after)], [*reach.suspects(before, plan_lower.lower(after))]
    assert [not found for found in doubts] == [proved, proved]
    assert not [*reach.suspects(before, plan_lower.lower(before))]
