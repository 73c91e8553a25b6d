"""What a policy costs: predictions that add up, packets that are what they are said to be, rules in the words
of other filters, advice, and the command. Nothing here needs root, and no figure comes from a clock."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from lockgate import cli
from lockgate.compiler import policy as policies
from lockgate.compiler.decision import DEFAULT
from lockgate.compiler.driver import Session
from lockgate.compiler.plan.cost import latencies
from lockgate.compiler.plan.predict import DECODE_NS, MISSED_NS, TEST_NS, predict
from lockgate.cost import ipset, nft
from lockgate.cost.advice import ROWS, Facts, advise
from lockgate.cost.said import Said
from lockgate.cost.samples import Sampler, by_rule, filled, ways
from lockgate.engines import seen_by
from lockgate.stdlib_bpf.hooks import ALL as HOOKS

EXAMPLES = sorted(Path("examples").glob("*/policy.gate"))
HEAD = 'policy p at xdp on "lo" {\n  fragments first-only\n  default pass\n'


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(a) for a in arguments])
    return int(stop.value.code or 0)


@contextmanager
def session(path: Path, text: str) -> Iterator[Session]:
    path.write_text(text)
    with Session(path) as open_session:
        yield open_session


def said(tmp_path: Path, rules: str, by: type) -> Said:
    with session(tmp_path / "p.gate", f"{HEAD}{rules}\n}}\n") as one:
        (chain,) = one.unit.chains
        return by.say(one.match(chain), {})  # type: ignore[attr-defined, no-any-return]


# ---- predictions ----


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_parts_add_up_and_packets_are_decided_as_said(path: Path) -> None:
    with Session(path) as one:
        for chain in one.unit.chains:
            live = filled(one, chain, 20)
            sampler = Sampler(one, chain, live)
            mix = sampler.mix(400)
            assert len(mix) == 400
            for sample in mix:
                (seen,) = seen_by(chain, [sample.packet])
                assert isinstance(seen, dict)
                assert policies.decide(chain, seen, live).rule == sample.rule
            told = predict(one.plan(chain), ways(mix))
            parts = [told.decode_ns, *told.rules.values(), *told.shared.values()]
            assert told.ns == pytest.approx(sum(parts))
            assert [s.packet for s in Sampler(one, chain, live).mix(400)] == [s.packet for s in mix]


def test_every_rule_of_an_example_gets_packets() -> None:
    with Session(Path("examples/edge/policy.gate")) as one:
        (chain,) = one.unit.chains
        mix = Sampler(one, chain, filled(one, chain, 20)).mix(800)
        assert [rule for rule, _ in by_rule(mix)] == [DEFAULT, *range(len(chain.rules))]


def test_a_profile_says_how_often_each_rule_decides(tmp_path: Path) -> None:
    text = f"{HEAD}  a: drop tcp to port 80\n  b: drop udp to port 53\n}}\n"
    with session(tmp_path / "p.gate", text) as one:
        (chain,) = one.unit.chains
        sampler = Sampler(one, chain, {})
        assert {s.rule for s in sampler.mix(100, {0: 0, 1: 7})} <= {1, DEFAULT}
        assert sum(s.rule == 1 for s in sampler.mix(100, {1: 90, DEFAULT: 10})) >= 90


def test_branches_cost_where_packets_part(tmp_path: Path) -> None:
    with session(tmp_path / "p.gate", f"{HEAD}  drop udp\n}}\n") as one:
        plan = one.plan(one.unit.chains[0])
        yes = (0, plan.nodes[0].yes, plan.nodes[plan.nodes[0].yes].yes)  # type: ignore[union-attr]
        no = (*yes[:2], plan.nodes[yes[1]].no)  # type: ignore[union-attr]
        together, apart = predict(plan, [yes, yes]), predict(plan, [yes, no])
        assert together.ns == pytest.approx(DECODE_NS["xdp"] + 2 * TEST_NS)
        assert apart.ns - together.ns == pytest.approx(MISSED_NS / 2)
        assert len(latencies(plan)) == len(plan.nodes)
        with pytest.raises(ValueError, match="no packets"):
            predict(plan, [])


def test_every_hook_has_a_price() -> None:
    assert set(DECODE_NS) == set(HOOKS)


# ---- other words ----


def test_rules_in_nftables(tmp_path: Path) -> None:
    rules = """
  web:  pass tcp from { 10.0.0.0/8, 192.0.2.1 } to port { 80, 443 }
  cap:  pass udp to port 53 limit 10/s
  odd:  drop tcp if ip.ttl < 3
  ping: drop icmp type echo-request"""
    found = said(tmp_path, rules, nft)  # type: ignore[arg-type]
    ((command, text),) = found.scripts
    assert command == ("nft", "-f", "-")
    assert text == (
        "table inet lockgate {\n"
        " set s0 { type ipv4_addr; flags interval; elements = { 10.0.0.0-10.255.255.255, 192.0.2.1 }; }\n"
        " set s1 { type inet_service; flags interval; elements = { 0x50, 0x1bb }; }\n"
        " chain rules {\n  type filter hook prerouting priority -300;\n"
        "  meta protocol 0x800 meta l4proto 0x6 ip saddr @s0 th dport @s1 counter drop\n"
        "  meta protocol 0x800 meta l4proto 0x1 icmp type 0x8 counter drop\n"
        "  counter drop\n }\n}\n"
    )
    assert found.lines == (0, 3)
    assert found.unsaid == {1: "its limit", 2: "`ip.ttl`"}


def test_rules_in_iptables(tmp_path: Path) -> None:
    rules = """
  web:  pass tcp from { 10.0.0.0/8, 192.0.2.1 } to port { 80, 443 }
  no:   drop tcp from not 10.0.0.0/8 flags syn/syn,ack
  arp:  drop arp"""
    found = said(tmp_path, rules, ipset)  # type: ignore[arg-type]
    (_, sets), (four, rules4), (six, rules6) = found.scripts
    assert sets.startswith(
        "create s0 hash:net family inet maxelem 64\nadd s0 10.0.0.0/8\nadd s0 192.0.2.1/32\n"
    )
    assert (four, six) == (("iptables-legacy-restore",), ("ip6tables-legacy-restore",))
    assert rules4.splitlines()[1] == (
        "-A PREROUTING -p 6 -m set --match-set s0 src -m multiport --dports 80,443 -j DROP"
    )
    assert "--tcp-flags SYN,ACK SYN" in rules4
    assert "-m multiport" not in rules6
    assert found.unsaid == {2: "`eth.type`"}


# ---- advice ----

BUSY = Facts(
    hook="xdp", rules=40, entries=100_000, ours_ns=40, peers={"nftables": 800, "ipset": 600}, rate=1e6
)


@pytest.mark.parametrize(
    ("facts", "use", "because"),
    [
        (BUSY, "lockgate", "15.0 times less than in ipset"),
        (replace(BUSY, rate=1_000), "nftables", "0.056 % of one CPU"),
        (replace(BUSY, kernel=(5, 4), needs=(5, 18)), "nftables", "needs 5.18"),
        (
            replace(BUSY, hook="connect", peers={}, kernel=(5, 4), needs=(5, 7)),
            "lockgate, on a newer kernel",
            "5.7",
        ),
        (replace(BUSY, hook="connect", peers={}), "lockgate", "packet filters cannot"),
        (replace(BUSY, rules=3, entries=9, filtering=True, rate=None), "nftables", "runs here already"),
        (replace(BUSY, rules=3, entries=9, filtering=False, rate=None), "lockgate", "times less"),
        (replace(BUSY, rules=3, entries=9, filtering=True, rate=1e7), "lockgate", "times less"),
        (replace(BUSY, hook="tc", ours_ns=900), "nftables", "costs no more in ipset"),
        (replace(BUSY, ours_ns=900, rate=None), "lockgate", "costs no more in ipset"),
        (replace(BUSY, hook="tc", replies=("answers",)), "lockgate", "`answers` let in what looks"),
        (replace(BUSY, rules=3, entries=0, live=(64,), rate=None), "lockgate", "small and change"),
    ],
)  # fmt: skip
def test_advice(facts: Facts, use: str, because: str) -> None:
    advice = advise(facts)
    assert advice.use == use
    assert any(because in reason.text for reason in advice.reasons), advice.reasons
    assert [r.decisive for r in advice.reasons] == sorted((r.decisive for r in advice.reasons), reverse=True)


def test_what_speaks_alone_speaks_against() -> None:
    assert all(row.speaks == "against" for row in ROWS if row.decisive)


# ---- the command ----


def test_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("cost", "examples/host/policy.gate", "--no-measure") == 0
    out = capsys.readouterr().out
    assert "host.ingress at tc: 8 rules" in out
    assert "predicted" in out
    assert "measured" not in out
    assert "  use lockgate" in out
    assert "    - `answers` let in what looks like a reply" in out


def test_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("cost", "examples/gateway/policy.gate", "--no-measure", "--json", "--policy", "edge") == 0
    short = capsys.readouterr().out
    options = ("--no-measure", "--output", "json", "--policy", "edge")
    assert run("cost", "examples/gateway/policy.gate", *options) == 0
    assert capsys.readouterr().out == short
    (chain,) = json.loads(short)["chains"]
    assert chain["chain"] == "edge"
    assert chain["measured"] is None
    assert set(chain["predicted"]["ns"]) == {"typical", "worst"}
    assert chain["predicted"]["ns"]["worst"] >= chain["predicted"]["ns"]["typical"] > 0
    assert sum(chain["rules_ns"].values()) == pytest.approx(chain["predicted"]["ns"]["typical"])
    assert chain["live_entries"] == 1_000


def test_a_fuller_set_costs_more(capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for entries in (10, 20_000):
        options = ("--no-measure", "--json", "--policy", "edge", "--live-entries", entries)
        assert run("cost", "examples/gateway/policy.gate", *options) == 0
        found.append(json.loads(capsys.readouterr().out)["chains"][0]["predicted"])
    assert found[0]["ns"]["typical"] < found[1]["ns"]["typical"]
    assert found[0]["bytes"] < found[1]["bytes"]


def test_exit_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "bad.gate"
    bad.write_text("policy p at xdp {")
    assert run("cost", bad, "--no-measure") == 1
    assert run("cost", tmp_path / "missing.gate", "--no-measure") == 2
    assert run("cost", "examples/host/policy.gate", "--policy", "nobody", "--no-measure") == 2
    assert "no policy `nobody`; the file has host" in capsys.readouterr().err
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run("cost", "examples/host/policy.gate", "--measure") == 2
    assert "--measure needs root" in capsys.readouterr().err


def test_without_root_it_predicts_and_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run("cost", "examples/connect/policy.gate") == 0
    assert "predictions only: measuring needs root" in capsys.readouterr().out
    assert run("cost", "examples/connect/policy.gate", "--json") == 0
    assert json.loads(capsys.readouterr().out)["note"] == "predictions only: measuring needs root"
