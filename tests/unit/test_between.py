"""Tests of policies for endpoints: who is judged where, what goes on with a flow, and what is proved."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner

from lockgate import passage
from lockgate.compiler import claims, proof
from lockgate.compiler.decision import FOLLOWS
from lockgate.compiler.driver import Session
from lockgate.judge import COMMANDS

from .front import said, unit

POLICY = """tiers guard > team
network office = 192.0.2.0/24
policy quarantine for [sick=yes] { tier guard  ingress { drop } egress { stop: drop } }
policy db for [app=db] {
  tier team  default drop
  ingress {
    pg: allow tcp from [app=api] to port 5432
    web: allow tcp from [app=web, ns.team in { red, blue }] to port 5432 if ip.ttl > 5
    seen: allow icmp, icmp6 type echo-request limit 2/s
  }
}
policy api for [app=api] { tier team  egress { allow tcp to [app=db] allow udp to office } }
policy node for hosts [role=node] { tier team  ingress { ssh: allow tcp from office to port 22 } }
"""


def ran(tmp_path: Path, steps: str, of: str = "of db", engine: str = "interp") -> list[str]:
    """What running a test says: `CODE text` of each finding."""
    path = tmp_path / "p.gate"
    path.write_text(POLICY + f'test "t" {of} {{ {steps} }}\n')
    command = [str(path), "--engine", engine, "--message-format", "concise"]
    found = CliRunner().invoke(COMMANDS["test"], command)  # type: ignore[arg-type]
    assert found.exception is None or isinstance(found.exception, SystemExit), found.output
    return [line.split(": ", 1)[1] for line in found.stderr.splitlines() if line.startswith(str(path))]


WHO = (
    "given api = [app=api] given db = [app=db] given sick = [app=api, sick=yes] given n = hosts [role=node] "
)
HOLDS = [
    "expect allow tcp from api to db port 5432 by pg  expect reply allowed",
    "expect drop tcp from api to db port 5432 flags ack by default",
    "expect drop tcp from [app=web] to db port 5432 by default",
    "expect allow tcp from [app=web, ns.team=red] to db port 5432 by db.web",
    "expect allow tcp from [app=web]ns[team=blue] to db port 5432 if ip.ttl == 6 by web",
    "expect drop tcp from [app=web]ns[team=blue] to db port 5432 if ip.ttl == 5",
    "repeat 2 expect allow icmp6 to db by seen  expect drop icmp6 to db  after 1s expect allow icmp6 to db",
    "expect allow icmp from api to db  expect reply allowed",
    "expect drop tcp from 2001:db8::1 to db",
]


@pytest.mark.parametrize("engine", ["interp", "match", "plan", "native"])
def test_expectations_of_one_policy_are_judged_where_it_selects(tmp_path: Path, engine: str) -> None:
    for steps in HOLDS:
        assert ran(tmp_path, WHO + steps, engine=engine) == [], steps


@pytest.mark.parametrize(
    "steps",
    [
        "expect drop tcp from sick to db port 5432 by quarantine.stop",
        "expect drop tcp from api to sick port 5432",
        "expect allow tcp from 192.0.2.9 to n port 22 by node.ssh  expect reply allowed",
        "expect drop tcp from 192.0.3.9 to n port 22 by default",
        "expect ingress allow tcp from sick to db port 5432 by db.pg",
        "expect drop tcp from api to [app=other] by default",
        "expect allow udp from api to 192.0.2.1 port 53  expect reply allowed",
    ],
)
def test_a_test_of_everything_judges_both_ends(tmp_path: Path, steps: str) -> None:
    assert ran(tmp_path, WHO + steps, of="") == []


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        ("expect allow tcp from api to db port 5432 by web", "E0690"),
        ("expect drop tcp from api to db port 5432", "E0690"),
        ("expect allow tcp from api to db port 5432 expect reply dropped", "E0690"),
        ("assert drop tcp to db", "E0602"),
        ("assert allow tcp from api to db", "E0602"),
    ],
)
def test_what_does_not_hold(tmp_path: Path, steps: str, code: str) -> None:
    (found,) = ran(tmp_path, WHO + steps)
    assert code in found


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("expect drop tcp from api to 192.0.2.1", [("E0603", "expect drop tcp from api to 192.0.2.1")]),
        ("expect drop tcp from [app!=x] to db", [("E0603", "[app!=x]")]),
        ("expect egress drop tcp to db", [("E0603", "expect egress drop tcp to db")]),
        ("expect reply allowed", [("E0603", "expect reply allowed")]),
        ("expect drop udp to db expect reply gone", [("E0202", "gone")]),
        ("expect allow tcp from nobody to db expect reply allowed", [("E0202", "nobody")]),
        ("expect drop udp to db expect allow tcp to db by none expect reply allowed", [("E0202", "none")]),
        ("expect drop udp to db expect reply dropped by pg", [("E0320", "pg")]),
        ("expect drop icmp to db type 3 expect reply dropped", [("E0603", "expect reply dropped")]),
        ("expect drop tcp to db by pq", [("E0202", "pq")]),
        ("given db = [app=x]", [("E0302", "given db = [app=x]")]),
        ("given office = [app=x]", [("E0201", "office")]),
        ("given h = hosts office", [("E0603", "office")]),
        ("expect pass tcp to db", [("E0311", "pass")]),
    ],
)
def test_sentences_that_say_no_one_packet(steps: str, expected: list[tuple[str, str]]) -> None:
    assert said(POLICY + f'test "t" of db {{ {WHO} {steps} }}') == expected


SELF = """policy api for [app=api] {
  default drop
  egress { own: allow tcp to self port 53  allow udp to nodes port 53 }
}
test "its own host only" of api {
  given node = hosts [role=node]
  expect allow tcp from [app=api] to self port 53 by own
  expect drop tcp from [app=api] to node port 53 by default
  expect allow udp from [app=api] to node port 53
  assert allow udp from [app=api] to self port 53
  assert drop tcp from [app=api] to world
}
"""


def test_this_host_is_one_of_the_nodes(tmp_path: Path) -> None:
    path = tmp_path / "p.gate"
    path.write_text(SELF)
    ran = CliRunner().invoke(COMMANDS["test"], [str(path), "--engine", "interp", "--engine", "native"])  # type: ignore[arg-type]
    assert ran.exit_code == 0, ran.output
    path.write_text(
        SELF.replace("assert drop tcp from [app=api] to world", "assert drop tcp from [app=api] to nodes")
    )
    ran = CliRunner().invoke(COMMANDS["test"], [str(path), "--engine", "interp"])  # type: ignore[arg-type]
    assert ran.exit_code == 1 and "to self port 53" in ran.output


def check(steps: str, of: str = "of db") -> object:
    whole = unit(POLICY + f'test "t" {of} {{ {WHO} {steps} }}')
    (test,) = whole.tests
    (claim,) = test.asserts
    return claims.check(whole.chains[0], claim, test.parties.values(), test.given)


@pytest.mark.parametrize(
    "claim",
    [
        "drop udp to db",
        "drop tcp from world to db",
        "drop tcp from nodes to db",
        "drop tcp from [app=other] to db",
        "allow tcp from api to db port 5432",
        "drop tcp from [app=web]ns[lacks team] to db",
        "drop tcp from [app=api] to db port 80",
    ],
)
def test_what_holds_is_proved(claim: str) -> None:
    assert check(f"assert {claim}") is None


@pytest.mark.parametrize(
    "claim",
    [
        "drop from any to sick",
        "drop from sick to any",
        "drop tcp from sick to [app=db]",
        "drop tcp from [app=api] to [app=other]",
        "drop tcp from cluster to [sick=yes, app=db]",
    ],
)
def test_one_end_that_drops_is_enough(claim: str) -> None:
    assert check(f"assert {claim}", of="") is None


@pytest.mark.parametrize(
    ("claim", "of", "source", "destination"),
    [
        ("drop tcp from [app in { api, x }] to db", "of db", "[app=api]", "db"),
        ("drop tcp from [app=web] to db", "of db", "[app=web]ns[team=blue]", "db"),
        ("allow tcp from [app=api] to [app=db] port 5432", "", "[app=api]", "[app=db, sick=yes]"),
        ("drop tcp to [app=other]", "", "world", "[app=other]"),
        ("drop udp from api", "", "api", "[]"),
        ("drop tcp to nodes port 22", "", "world", "host []"),
    ],
)
def test_a_counterexample_has_labels_for_both_ends(
    claim: str, of: str, source: str, destination: str
) -> None:
    found = check(f"assert {claim}", of)
    assert isinstance(found, claims.Counterexample)
    assert (found.source.text, found.destination.text) == (source, destination)
    assert found.example.decision.verdict != claim.split()[0]


def test_a_claim_about_nobody_is_not_proved() -> None:
    assert isinstance(check("assert drop tcp from world to world"), proof.Unproved)
    assert isinstance(check("assert drop tcp to [app=other]"), proof.Unproved)


def test_a_counterexample_can_be_pasted(tmp_path: Path) -> None:
    found = check("assert drop tcp from [app=web] to db")
    assert isinstance(found, claims.Counterexample)
    line = proof.sentence(found.example, "web", claims.ends(found))
    assert ran(tmp_path, f"{WHO} {line}") == []


def test_an_answer_follows_its_flow_and_another_packet_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "p.gate"
    steps = "expect allow tcp from api to db port 5432 expect reply allowed expect drop tcp from api to db"
    path.write_text(POLICY + f'test "t" of db {{ {WHO} {steps} }}\n')
    with Session(path) as session:
        (block,) = session.unit.tests
        (chain,) = session.unit.chains
        run = passage.Passage(
            chain.selections, block.parties, passage.interp(session, chain, {}, ExitStack())
        )
        first, answer, other = (run(expect) for expect in block.expects)
    assert (first.verdict, answer.rule, other.verdict) == ("allow", FOLLOWS, "drop")
    assert answer.verdict == "allow"
