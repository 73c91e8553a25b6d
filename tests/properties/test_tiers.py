"""Policies for endpoints: the one list that they become means what tiers mean, said here once more without a
list; and every form of it agrees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.compiler import agreement, claims
from lockgate.compiler.match import passes as match_passes
from lockgate.compiler.match import run as match_run
from lockgate.compiler.match.lower import lower
from lockgate.compiler.match.verify import verify
from lockgate.compiler.plan import lower as plan_lower
from lockgate.compiler.plan.run import Runner
from lockgate.compiler.plan.verify import verify as verify_plan
from lockgate.compiler.policy import decide, tiered
from lockgate.compiler.policy.between import OPENS
from lockgate.compiler.policy.decide import matches
from lockgate.compiler.policy.model import (
    AllOf,
    Assert,
    Chain,
    Minus,
    Network,
    Not,
    Prefixes,
    Rule,
    Selected,
    Union,
)
from lockgate.compiler.policy.selectors import Selections
from lockgate.compiler.policy.tiered import Said
from lockgate.stdlib_bpf.decode.frame import Facts
from lockgate.stdlib_bpf.fields import DIRECTIONS, IP, PEER, SUBJECT, selected_field
from lockgate.stdlib_bpf.labels import CLUSTER, HOST, NODES, WORKLOAD, LabelTest, Selection, Selector
from lockgate.stdlib_bpf.state import flows

from . import programs
from .programs import SOURCE, contents, facts

SPAN = programs.Span(SOURCE, 0, 4)
TIERS = ("first", "second", "third")
A, B = LabelTest("app", ("a",)), LabelTest("app", ("b",))
SELECTORS = (
    Selector(),
    Selector(HOST),
    Selector(WORKLOAD, (A,)),
    Selector(WORKLOAD, (B,)),
    Selector(WORKLOAD, (A, LabelTest("x"))),
    Selector(WORKLOAD, (LabelTest("app", ("a",), negated=True),)),
)
PEERS = (CLUSTER, NODES, Selection((SELECTORS[2],)), Selection(SELECTORS[3:5]))
VERDICTS = ("allow", "drop", "pass", "continue")


@dataclass(frozen=True)
class Person:
    """Who an end is; nobody where `kind` is ""."""

    kind: str
    labels: Mapping[str, str]

    def taken(self, selection: Selection) -> bool:
        return bool(self.kind) and selection.takes(self.kind, dict(self.labels), {})


labels = st.dictionaries(st.sampled_from(("app", "x")), st.sampled_from(("a", "b", "c")), max_size=2)
people = st.builds(Person, st.sampled_from((WORKLOAD, WORKLOAD, HOST)), labels)
others = st.one_of(people, st.just(Person("", {})))


def networks() -> st.SearchStrategy[Network]:
    leaves: st.SearchStrategy[Network] = st.one_of(
        programs.prefixes(), st.integers(0, len(PEERS) - 1).map(Selected)
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(Union, inner, inner), st.builds(Minus, inner, inner), st.builds(Not, inner)
        ),
        max_leaves=3,
    )


@st.composite
def rules(draw: st.DrawFn) -> tuple[str, Rule]:
    """A rule with its direction. Most ask for little, so that several of a list match one packet."""
    rule = draw(programs.rules())
    plain = draw(st.booleans())
    return draw(st.sampled_from(DIRECTIONS)), replace(
        rule,
        verdict=draw(st.sampled_from(VERDICTS)),
        limit=None,
        sports=None,
        src=draw(programs.optional(networks())),
        dst=draw(programs.optional(networks())),
        flags=None if plain else rule.flags,
        where=None if plain else rule.where,
        dports=None if plain else rule.dports,
    )


@st.composite
def policies(draw: st.DrawFn) -> list[Said]:
    count = draw(st.integers(1, 5))
    return [
        Said(
            f"p{i}",
            draw(st.sampled_from(SELECTORS)),
            draw(st.sampled_from((DIRECTIONS, DIRECTIONS[:1], DIRECTIONS[1:]))),
            tuple(draw(st.lists(rules(), max_size=3))),
            SPAN,
            draw(st.sampled_from(TIERS)),
            draw(st.sampled_from((None, None, 1, 2))),
            draw(st.sampled_from((False, False, False, True))),
            draw(st.sampled_from((tiered.STRICT, tiered.LOOSE, tiered.OFF))),
        )
        for i in range(count)
    ]


defaults = st.dictionaries(st.sampled_from(TIERS), st.sampled_from(("allow", "drop")), max_size=3)


def list_of(said: Sequence[Said], tier_defaults: Mapping[str, str]) -> Chain:
    selections = Selections()
    for peer in PEERS:
        selections.number(peer)
    held = {tier: (verdict, SPAN) for tier, verdict in tier_defaults.items()}
    return tiered.chain(said, (), TIERS, held, selections, ())


def seen(chain: Chain, packet: Facts, direction: int, opens: int, subject: Person, peer: Person) -> Facts:
    out = packet | {"flow.direction": direction, "flow.opens": opens}
    for number, selection in enumerate(chain.selections):
        out[selected_field(SUBJECT, number)] = int(subject.taken(selection))
        if packet["eth.type"] in IP:
            out[selected_field(PEER, number)] = int(peer.taken(selection))
    return out


def meant(
    said: Sequence[Said],
    tier_defaults: Mapping[str, str],
    subject: Person,
    packet: Facts,
    live: Mapping[str, Prefixes],
) -> str:
    """The verdict by what tiers, orders and defaults are."""
    direction = DIRECTIONS[packet["flow.direction"]]
    mine = [p for p in said if direction in p.blocks and subject.taken(Selection((p.selector,)))]
    for tier in TIERS:
        members = sorted((p for p in mine if p.tier == tier), key=tiered.order_of)
        answers = (answer for p in members if (answer := answer_of(p, direction, packet, live)) is not None)
        answer = next(answers, None)
        if answer is None and tier in tier_defaults and any(not p.audit for p in members):
            answer = tier_defaults[tier]
        if answer not in (None, "pass"):
            return answer
    return "drop" if any(not p.audit for p in mine) else "allow"


def answer_of(policy: Said, direction: str, packet: Facts, live: Mapping[str, Prefixes]) -> str | None:
    """What a policy says to a packet of an endpoint that it selects; None where it says nothing."""
    for where, rule in policy.rules:
        if where != direction or not matches(replace(rule, direction=direction), packet, live):
            continue
        if rule.verdict == "allow" and policy.state == tiered.STRICT and not packet["flow.opens"]:
            continue
        if rule.verdict != "continue":
            return None if policy.audit else rule.verdict
    return None


@given(
    policies(),
    defaults,
    st.lists(
        st.tuples(facts(), st.integers(0, 1), st.integers(0, 1), people, others), min_size=5, max_size=12
    ),
    contents(),
)
@settings(deadline=None, max_examples=150)
def test_the_list_means_what_tiers_mean(
    said: list[Said],
    tier_defaults: dict[str, str],
    packets: list[tuple[Facts, int, int, Person, Person]],
    live: dict[str, Prefixes],
) -> None:
    chain = list_of(said, tier_defaults)
    program = lower(chain)
    verify(program)
    optimised = program
    for item in match_passes.PASSES:
        optimised = item(optimised)
    plan = plan_lower.lower(optimised)
    verify_plan(plan)
    runner = Runner(plan)
    for packet, direction, opens, subject, peer in packets:
        found = seen(chain, packet, direction, opens, subject, peer)
        expected = decide(chain, found, live)
        assert expected.verdict == meant(said, tier_defaults, subject, found, live)
        assert match_run.run(program, found, live) == expected
        assert match_run.run(optimised, found, live) == expected
        assert runner.run(found, live) == expected


@given(policies(), st.lists(st.tuples(facts(), st.integers(0, 1), people, others), min_size=2, max_size=8))
@settings(deadline=None, max_examples=100)
def test_policies_that_are_said_to_agree_do(
    said: list[Said], packets: list[tuple[Facts, int, Person, Person]]
) -> None:
    """Of two that have no order, and no disagreement is told of, both give the same answer or one gives
    none."""
    chain = list_of(said, {})
    told = {(d.tier, d.direction) for d in agreement.disagreements(chain, lower(chain), None)}
    for packet, direction, subject, peer in packets:
        found = seen(chain, packet, direction, 1, subject, peer)
        way = DIRECTIONS[direction]
        for tier in TIERS:
            if any(place == tier for place, _ in told):
                continue
            for order in (None, 1, 2):
                mine = [p for p in said if (p.tier, p.order) == (tier, order) and not p.audit]
                mine = [p for p in mine if way in p.blocks and subject.taken(Selection((p.selector,)))]
                answers = {answer_of(p, way, found, {}) for p in mine} - {None}
                assert len(answers) < 2


ends = st.tuples(others, others).filter(lambda pair: bool(pair[0].kind or pair[1].kind))


@given(
    policies(),
    defaults,
    rules(),
    st.sampled_from(("allow", "drop")),
    st.lists(st.tuples(facts(), ends), min_size=3, max_size=10),
)
@settings(deadline=None, max_examples=80)
def test_what_is_proved_of_endpoints_holds(
    said: list[Said],
    tier_defaults: dict[str, str],
    sentence: tuple[str, Rule],
    verdict: str,
    packets: list[tuple[Facts, tuple[Person, Person]]],
) -> None:
    """An assertion that is proved holds for packets between whoever: dropped by either end, or allowed by
    both."""
    chain = list_of(said, tier_defaults)
    asked = replace(sentence[1], verdict=verdict)
    where = OPENS if asked.where is None else AllOf((OPENS, asked.where))
    claim = Assert(SPAN, chain.name, replace(asked, where=where), DIRECTIONS, "", chain.selections)
    if claims.check(chain, claim, (), {}) is not None:
        return
    for packet, (source, destination) in packets:
        views = [("ingress", destination, source), ("egress", source, destination)]
        judged = [
            (way, seen(chain, packet, DIRECTIONS.index(way), flows.opens(packet), subject, peer))
            for way, subject, peer in views
            if subject.kind
        ]
        if not all(matches(replace(claim.rule, direction=way), found, {}) for way, found in judged):
            continue
        allowed = all(decide(chain, found, {}).verdict == "allow" for _, found in judged)
        assert allowed == (verdict == "allow")
