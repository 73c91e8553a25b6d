"""THE LAW: five meanings of a policy agree on every packet.

Random policies as source text, random packets at their edges. `policy.decide`, the match IR before and behind
its passes, the plan, the generated code run natively and the generated code run by the kernel must give one
verdict, one deciding rule and one set of counters. What was exercised is asserted, and printed at the end of
the session.

The ordinary run is the same each time; `make test-all` draws anew, and twenty times as many. A counterexample
is shrunk and kept in `tests/corpus` as a file test, and so replayed from then on.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from lockgate.compiler.match import text as match_text
from lockgate.compiler.match.verify import verify as verify_match
from lockgate.compiler.plan import parts, protocols
from lockgate.compiler.plan import text as plan_text
from lockgate.compiler.plan.verify import verify as verify_plan
from lockgate.compiler.policy.model import Chain
from lockgate.stdlib_bpf import fields, hooks
from tests import engines, filetest

from .coverage import Coverage
from .packets import Maker
from .strategies import PLACES, STRUCTURES, Text, policies

POLICIES, PACKETS = 70, 100
FIELDS_A_TURN, STRUCTURES_TURNS = 4, 4
HITS = (0, 1, 10, 1_000, 100_000)  # that a profile may tell of
PART_INSNS = (parts.PART_INSNS, 10, 60, 250)  # one function; a function for nearly each node; some
LONG = 20  # times as many under `make test-all`

Record = Callable[[str, object], None]


def ask(text: Text, number: int, coverage: Coverage, with_kernel: bool) -> engines.Case | None:
    """Judge a policy on packets drawn from a seed. The case with one packet that differs, or None."""
    unit = engines.load(text.source, text.files)
    chain = unit.chains[0]
    live = {name: text.live[name] for name in unit.live}
    packets = tuple(Maker(chain, live, random.Random(number)).packets(PACKETS))
    case = engines.Case(
        text.source,
        packets,
        text.files,
        live,
        text.structures,
        None,
        profile(chain, number),
        PART_INSNS[number % len(PART_INSNS)],
    )
    with engines.Opened(case, unit) as opened:
        answers, found = opened.judge(with_kernel)
        program, plan = opened.session.match(chain), opened.session.plan(chain)
        kernel = answers[-1].decisions if with_kernel else ()
        coverage.add(program, plan, answers[0].decisions, kernel)
        for ir in (program, opened.session.optimised(chain)):
            verify_match(ir)
            assert match_text.write(match_text.read(match_text.write(ir))) == match_text.write(ir)
            assert match_text.read(match_text.write(ir)) == unplaced(ir)
        verify_plan(plan)
        assert plan_text.read(plan_text.write(plan)) == unplaced(plan)
    if not found:
        return None
    at = next((d.packet for d in found if d.packet is not None), None)
    return case if at is None else replace(case, packets=(packets[at],))


def profile(chain: Chain, number: int) -> dict[str, int] | None:
    """Packets that rules may have decided, skewed; for two of three policies."""
    draw = random.Random(f"profile {number}")
    if number % 3 == 0:
        return None
    return {label: draw.choice(HITS) for label in ("default", *(rule.label for rule in chain.rules))}


def unplaced(ir):  # type: ignore[no-untyped-def]
    """An IR without spans, which its text form leaves out."""
    return replace(ir, rules=tuple(replace(rule, span=None) for rule in ir.rules))


def hold(place: str, count: int, anew: bool, with_kernel: bool) -> Coverage:
    """Judge `count` policies at a place, fields and structures having their turns; the coverage. `anew`:
    other ones at each run. A counterexample is shrunk, stored, and raised."""
    coverage = Coverage(place)
    rows = [row for row in fields.ALL if place.partition(" ")[0] in row.hooks]
    turns = [rows[at : at + FIELDS_A_TURN] for at in range(0, len(rows), FIELDS_A_TURN)]
    runs = max(len(turns), STRUCTURES_TURNS)
    for run in range(runs):
        allowed = STRUCTURES[run % STRUCTURES_TURNS :: STRUCTURES_TURNS]
        with pytest.MonkeyPatch.context() as patched:
            if run % 2:  # packets of TCP and of UDP go apart in short lists, too
                patched.setattr(protocols, "SPARED", 0.0)
            _hold(coverage, turns[run % len(turns)], allowed, -(-count // runs), anew, with_kernel)
    return coverage


def _hold(
    coverage: Coverage,
    about: Sequence[fields.Field],
    allowed: Sequence[frozenset[str] | None],
    count: int,
    anew: bool,
    with_kernel: bool,
) -> None:
    place, last = coverage.place, list[engines.Case]()

    named = (place, about[0].name, str(STRUCTURES.index(allowed[0])))

    @(
        # the order that brings every kind of table, at each place
        seed(zlib.crc32(" ".join(named[:: -1 if place == "connect" else 1]).encode()))
        if not anew
        else lambda function: function
    )
    @given(policies(place, about=about, allowed=allowed), st.integers(0, 2**32 - 1))
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    def law(text: Text, number: int) -> None:
        case = ask(text, number, coverage, with_kernel)
        if case is not None:
            last[:] = [case]
        assert case is None, "the engines disagree"

    try:
        law()
    except AssertionError as failure:
        if not last:
            raise
        path = filetest.keep(last[0])
        raise engines.DisagreementError(
            f"kept as {path}: run it with pytest\n{path.read_text()}"
        ) from failure


def check(place: str, times: int, record: Record) -> None:
    hook = hooks.ALL[place.partition(" ")[0]]
    # Real sockets are slow: at connect the kernel is asked by a test of its own.
    with_kernel = hook.name != "connect" and engines.why_no_kernel() is None
    coverage = hold(place, POLICIES * times, times > 1, with_kernel)
    record("law", "\n".join(coverage.lines()))
    # hypothesis may find a policy twice and then not run it again
    coverage.check(hook.name, hook.verdicts, POLICIES * times * 9 // 10, POLICIES * times * PACKETS * 9 // 10)
    if with_kernel:
        least = 0.5 if hook.name == "tc" else 0.9
        assert coverage.kernel >= least * coverage.pairs, "the kernel was asked too seldom"


@pytest.mark.parametrize("place", PLACES)
def test_five_meanings_agree(place: str, record_property: Record) -> None:
    check(place, 1, record_property)


@pytest.mark.exhaustive
@pytest.mark.parametrize("place", PLACES)
def test_five_meanings_agree_on_many_more(place: str, record_property: Record) -> None:
    check(place, LONG, record_property)


@pytest.mark.kernel
def test_five_meanings_agree_on_real_sockets(record_property: Record) -> None:
    """At connect the kernel engine is a real socket in a throw-away cgroup."""
    coverage = hold("connect", 24, anew=False, with_kernel=True)
    coverage.place = "connect, real sockets"
    record_property("law", "\n".join(coverage.lines()))
    assert coverage.kernel >= 1_000


@pytest.mark.kernel
@pytest.mark.exhaustive
def test_five_meanings_agree_on_many_more_real_sockets() -> None:
    assert hold("connect", 300, anew=True, with_kernel=True).kernel >= 15_000
