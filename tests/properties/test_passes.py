"""Laws of every pass over the match IR, and of the way from matches to plans."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.compiler.decision import Decision
from lockgate.compiler.match import lower as match_lower
from lockgate.compiler.match import run as match_run
from lockgate.compiler.match import text as match_text
from lockgate.compiler.match.boxes import inside
from lockgate.compiler.match.coverage import coverage, covered_rules
from lockgate.compiler.match.ir import MatchProgram
from lockgate.compiler.match.passes import PASSES
from lockgate.compiler.match.verify import verify as verify_match
from lockgate.compiler.pipeline import Level, Pass, Pipeline
from lockgate.compiler.plan import lower as plan_lower
from lockgate.compiler.plan import text as plan_text
from lockgate.compiler.plan.choose import STRUCTURES
from lockgate.compiler.plan.run import Runner
from lockgate.compiler.plan.verify import verify as verify_plan
from lockgate.compiler.policy.model import Chain, Prefixes
from lockgate.stdlib_bpf.decode.frame import Facts
from lockgate.stdlib_bpf.state.limits import Buckets

from .programs import chains, contents, facts

LEVEL = Level("match", verify_match, match_text.write)
SAMPLES = st.lists(facts(), min_size=8, max_size=25)
CHOICES = [None, *(frozenset({kind}) for kind in sorted(STRUCTURES))]


def answers(program: MatchProgram, packets: list[Facts], live: dict[str, Prefixes]) -> list[Decision]:
    """What a program says of packets one after the other."""
    buckets = Buckets()
    return [match_run.run(program, packet, live, buckets) for packet in packets]


@pytest.mark.parametrize("item", PASSES, ids=lambda item: item.name)
@given(chains(), SAMPLES, contents())
@settings(deadline=None, max_examples=50)
def test_laws_of_a_pass(
    item: Pass[MatchProgram], chain: Chain, packets: list[Facts], live: dict[str, Prefixes]
) -> None:
    before = match_lower.lower(chain)
    after = item(before)
    verify_match(after)
    assert answers(after, packets, live) == answers(before, packets, live)
    assert item(after) == after, "a pass is idempotent"
    assert len(after.matches) <= len(before.matches), "a pass never makes more matches"
    assert len(plan_lower.lower(after).nodes) <= len(plan_lower.lower(before).nodes)
    assert after.rules == before.rules
    for match in after.matches:
        assert match.rule in match.origins


@given(chains(), SAMPLES, contents(), st.sampled_from(CHOICES))
@settings(deadline=None, max_examples=50)
def test_plans_keep_the_meaning(
    chain: Chain, packets: list[Facts], live: dict[str, Prefixes], structures: frozenset[str] | None
) -> None:
    program = Pipeline(LEVEL, PASSES).run(match_lower.lower(chain)).ir
    plan = plan_lower.lower(program, structures)
    verify_plan(plan)
    runner, buckets = Runner(plan), Buckets()
    assert [runner.run(p, live, buckets) for p in packets] == answers(program, packets, live)


@given(chains(), SAMPLES, contents())
@settings(deadline=None, max_examples=50)
def test_a_covered_rule_never_decides(chain: Chain, packets: list[Facts], live: dict[str, Prefixes]) -> None:
    program = match_lower.lower(chain)
    covered = dict(covered_rules(program))
    for decision in answers(program, packets, live):
        assert not covered.keys() & {decision.rule, *decision.passed}
    for rule, covering in covered.items():
        assert all(earlier < rule for earlier in covering)
        assert covering


@given(chains())
@settings(deadline=None, max_examples=50)
def test_both_text_forms_read_back(chain: Chain) -> None:
    program = match_text.read(match_text.write(match_lower.lower(chain)))
    assert match_text.read(match_text.write(program)) == program
    assert match_text.write(match_lower.lower(chain)) == match_text.write(program)
    plan = plan_lower.lower(program)
    assert plan_text.read(plan_text.write(plan)) == plan


@given(chains())
@settings(deadline=None, max_examples=50)
def test_what_lies_inside_one_earlier_match_is_covered(chain: Chain) -> None:
    """The index of boxes misses none; and answers name matches that are not covered themselves."""
    program = match_lower.lower(chain)
    found, boxes = coverage(program), [dict(match.tests) for match in program.matches]
    for i, box in enumerate(boxes):
        takers = [j for j in range(i) if found[j] is None and program.rules[program.matches[j].rule].final]
        if any(inside(box, boxes[j]) for j in takers):
            assert found[i] is not None
        assert all(found[j] is None and j < i for j in found[i] or ())


def test_coverage_is_exact_on_small_domains() -> None:
    """Every union of two port ranges against a third: covered exactly when the ports say so."""
    spans = [(low, high) for low in range(4) for high in range(low, 4)]
    for a, b, c in itertools.product(spans, repeat=3):
        text = 'matches "x" at xdp default pass\n' + "".join(
            f'rule {i} "{i}" drop "x" 1 1\n' for i in range(3)
        )
        for rule, (low, high) in enumerate((a, b, c)):
            guards = "eth.type {0x0800} ip.proto {6}"
            text += f"match {rule} from {rule} when {guards} th.dport {{{low}-{high}}}\n"
        ports = [set(range(low, high + 1)) for low, high in (a, b, c)]
        expected = ports[2] <= ports[0] | ports[1]
        assert (2 in dict(covered_rules(match_text.read(text)))) == expected
