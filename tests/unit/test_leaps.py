"""Rules that let a packet go on at a later rule than the next: what they pass over has no say."""

from __future__ import annotations

import pytest

from lockgate.compiler.decision import DEFAULT
from lockgate.compiler.match import run as match_run
from lockgate.compiler.match import text
from lockgate.compiler.match.coverage import coverage
from lockgate.compiler.match.ir import MatchProgram
from lockgate.compiler.match.passes import PASSES
from lockgate.compiler.match.prove import suspects
from lockgate.compiler.match.verify import VerifyError, verify
from lockgate.compiler.pipeline import Level, Pipeline
from lockgate.compiler.plan import lower as plan_lower
from lockgate.compiler.plan.run import Runner
from lockgate.stdlib_bpf.decode.frame import Facts
from lockgate.stdlib_bpf.sets import IntervalSet

# UDP is led past the rule that drops everything; both branches take port 53 before that.
LEAP = """matches "leap" at xdp default drop
rule 0 "dns" pass "f" 1 1
rule 1 "leap" continue "f" 2 1 passing resume 3
rule 2 "all" drop "f" 3 1
rule 3 "open" pass "f" 4 1
match 0 from 0 when eth.type {0x0800} ip.proto {6, 17} th.dport {53}
match 1 from 1 when eth.type {0x0800} ip.proto {17}
match 2 from 2 when eth.type {0x0800}
match 3 from 3 when eth.type {0x0800} ip.proto {6, 17} th.dport {80}
"""
EXPECTED = {(6, 53): 0, (17, 53): 0, (6, 80): 2, (17, 80): 3, (17, 81): DEFAULT}


def packet(protocol: int, port: int) -> Facts:
    found = {"eth.type": 0x0800, "ip.proto": protocol, "l4.proto": protocol, "th.sport": 1, "th.dport": port}
    return found | {"ip4.src": 1, "ip4.dst": 2}


def program() -> MatchProgram:
    read = text.read(LEAP)
    verify(read)
    return read


def optimised() -> MatchProgram:
    return Pipeline(Level("match", verify, text.write), PASSES).run(program()).ir


def test_the_text_reads_back() -> None:
    assert text.write(program()) == LEAP


@pytest.mark.parametrize("structures", [None, frozenset({"rule_tree"}), frozenset({"inline"})])
def test_every_form_leaps(structures: frozenset[str] | None) -> None:
    runner = Runner(plan_lower.lower(optimised(), structures))
    for (protocol, port), rule in EXPECTED.items():
        seen = packet(protocol, port)
        assert match_run.run(program(), seen, {}).rule == rule
        assert match_run.run(optimised(), seen, {}).rule == rule
        assert runner.run(seen, {}).rule == rule


def test_what_is_passed_over_covers_nothing_behind() -> None:
    assert coverage(program()) == [None, None, None, None]
    straight = text.read(LEAP.replace(" resume 3", ""))
    assert coverage(straight) == [None, None, None, (2,)]


def test_a_proof_knows_where_packets_are_led() -> None:
    udp = {"eth.type": IntervalSet.of(0x0800), "ip.proto": IntervalSet.of(17)}
    assert {suspect.rule for suspect in suspects(program(), [udp], "pass")} == {DEFAULT}
    tcp = {"eth.type": IntervalSet.of(0x0800), "ip.proto": IntervalSet.of(6)}
    assert {suspect.rule for suspect in suspects(program(), [tcp], "pass")} == {2}


@pytest.mark.parametrize("resume", [0, 1, 5])
def test_a_rule_leads_onward_and_to_a_rule_or_the_end(resume: int) -> None:
    with pytest.raises(VerifyError, match=f"rule 1: it cannot go on at rule {resume}"):
        verify(text.read(LEAP.replace("resume 3", f"resume {resume}")))
