"""Tests of services: what holds, what does not and why, and what makes no sense."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from lockgate import judge
from lockgate.compiler import calls
from lockgate.compiler.cli import build
from lockgate.compiler.policy.decide import matches
from lockgate.stdlib_bpf.balance.reference import answer
from lockgate.stdlib_bpf.decode.sock_addr import AF_INET, SocketCall, decode
from tests.unit.front import findings, unit

EXAMPLE = Path(__file__).parents[2] / "examples" / "balance" / "shop.gate"
SHOP = """
balance shop {
  vip      10.96.0.40, fd00:96::40
  port     tcp 443 -> 8443
  port     tcp 444
  port     udp 53
  backends { 10.244.1.7, 10.244.2.9 port 80, 10.244.3.4 draining, fd00:244:1::7 }
  exempt   cgroup "/mesh"
}
"""


def ran(tmp_path: Path, steps: str) -> Result:
    policy = tmp_path / "p.gate"
    policy.write_text(f'{SHOP}test "t" of shop {{\n{steps}\n}}\n')
    return CliRunner().invoke(judge.test, [str(policy), "--engine", "interp"])


@pytest.mark.parametrize(
    "step",
    [
        "expect backend 10.244.1.7 tcp to 10.96.0.40 port 443",
        "expect backend 10.244.2.9 udp to 10.96.0.40 port 53",
        "expect backend fd00:244:1::7 tcp to fd00:96::40 port 444",
        "expect allow tcp to 10.96.0.41 port 1",
        "expect allow icmp to 10.96.0.40",
        "expect reject tcp to 10.96.0.40 port 53",
        'expect allow tcp to 10.96.0.40 port 53 if sock.cgroup == "/mesh"',
        "assert reject tcp to { 10.96.0.40, fd00:96::40 } port { 1-442, 445-65535 }",
        "assert reject udp to 10.96.0.40 port 54-65535",
        "assert allow udp, tcp to not { 10.96.0.40, fd00:96::40 }",
        "assert allow udp to any port 53",
        'assert allow tcp to 10.96.0.40 if sock.cgroup == "/mesh"',
    ],
)
def test_what_holds(tmp_path: Path, step: str) -> None:
    done = ran(tmp_path, step)
    assert done.exit_code == 0, done.output
    assert done.output.endswith("1 passed, 0 failed; through interp; of services through interp only\n")


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ("expect backend 10.244.3.4 tcp to 10.96.0.40 port 443", "got `backend 10.244.1.7 or 10.244.2.9`"),
        ("expect backend 10.244.1.7 tcp to 10.96.0.40 port 445", "got `reject`"),
        ("expect backend 10.244.1.7 tcp to 10.96.0.41 port 443", "got `allow`"),
        ("expect allow udp to 10.96.0.40 port 443", "got `reject`"),
        ("assert reject tcp to 10.96.0.40 port 1-443", "connect tcp 10.96.0.40:443 gets allow"),
        ("assert reject tcp to 10.96.0.40 port 443-445", "connect tcp 10.96.0.40:443 gets allow"),
        ("assert allow tcp to 10.96.0.40 port 443-445", "connect tcp 10.96.0.40:445 gets reject"),
        ("assert allow tcp to fd00:96::/64 port 443-444, 446", "E0102"),
        ("assert allow udp to 10.96.0.0/16", "10.96.0.40"),
        ('assert reject tcp to 10.96.0.40 port 9 if sock.cgroup == "/mesh"', "cgroup /mesh gets allow"),
    ],
)
def test_what_does_not_hold_says_why(tmp_path: Path, step: str, why: str) -> None:
    done = ran(tmp_path, step)
    assert done.exit_code == 1
    assert why in done.output, done.output


def test_what_makes_no_sense_in_a_test_of_a_service() -> None:
    test = """test "t" of shop {
  given a = [app=web]
  expect reply allowed
  expect allow tcp to 10.96.0.40 port 443 by rule
  expect backend 10.0.0.0/8 tcp to 10.96.0.40 port 443
  expect drop tcp to 10.96.0.40 port 443
  expect allow tcp from 10.0.0.1 to 10.96.0.40 port 443
}
policy p at xdp on "lo" { default pass  fragments first-only }
test "p" of p { expect backend 10.0.0.1 tcp }
"""
    assert [d.code for d in findings(SHOP + test)] == [
        "E0390", "E0390", "E0320", "E0330", "E0305", "E0307", "E0320",
    ]  # fmt: skip


def test_the_example_holds() -> None:
    assert CliRunner().invoke(judge.test, [str(EXAMPLE), "--engine", "interp"]).exit_code == 0


BALANCER = unit(SHOP).balancers[0]
RULES = {
    text: unit(f'{SHOP}test "t" of shop {{ assert {text} }}').tests[0].claims[0].rule
    for text in (
        "allow tcp",
        "reject tcp to 10.96.0.40",
        "allow udp to port 53",
        "allow tcp, udp to fd00::/16 port 400-500",
        "reject tcp to { 10.96.0.40, fd00:96::40 } port { 1-442, 445-65535 }",
        "allow protocol 6",
    )
}
ports = st.sampled_from([1, 52, 53, 54, 442, 443, 444, 445, 65535]) | st.integers(0, 65535)
addresses = st.sampled_from(["10.96.0.40", "10.96.0.39", "fd00:96::40", "fd00::1"])


@given(st.sampled_from(sorted(RULES)), addresses, ports, st.sampled_from([1, 6, 17, 58, 132]))
def test_what_is_not_refuted_holds_for_every_call(text: str, address: str, port: int, protocol: int) -> None:
    rule = RULES[text]
    host = ipaddress.ip_address(address)
    call = SocketCall("connect", AF_INET if host.version == 4 else 10, protocol, int(host), port)
    if matches(rule, decode(call), {}) and calls.refuted(BALANCER, rule) is None:
        assert answer(BALANCER.services, protocol, address, port).verdict == rule.verdict


def test_what_commands_say_of_services(tmp_path: Path) -> None:
    """They are counted and written; data planes that see no socket calls refuse them."""
    policy, bundle = tmp_path / "p.gate", tmp_path / "p.bundle"
    policy.write_text(SHOP)
    done = CliRunner().invoke(build, [str(policy), "-o", str(bundle), "--objects", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "0 rule lists, 0 rules, 1 service," in done.output
    assert (tmp_path / "balance.o").read_bytes()[:4] == b"\x7fELF"
    for target in ("nftables", "hns"):
        done = CliRunner().invoke(build, [str(policy), "--target", target, "-o", str(tmp_path / "out")])
        assert done.exit_code == 1 and "services" in done.output
        assert not (tmp_path / "out").exists()
    text = CliRunner().invoke(build, [str(policy), "--emit", "llvm"]).output
    assert 'section "cgroup/getpeername6"' in text
