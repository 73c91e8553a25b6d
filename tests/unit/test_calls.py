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
from lockgate.compiler.cli import build, check
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
        "E0390", "E0320", "E0330", "E0305", "E0307", "E0320",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["shop.gate", "labels.gate"])
def test_the_example_holds(name: str) -> None:
    arguments = [str(EXAMPLE.with_name(name)), "--engine", "interp"]
    assert CliRunner().invoke(judge.test, arguments).exit_code == 0


LABELLED = """
balance shop {
  vip 10.96.0.40  port tcp 443
  backends [app=shop]
  exempt [app in { envoy, istio }, ns.team=shop]
}
"""
INVENTORY = """
namespaces: { red: { team: shop } }
endpoints:
  - { name: a, labels: { app: shop }, addresses: [ 10.244.1.7 ], cgroup: /a }
  - { name: b, labels: { app: shop }, addresses: [ 10.244.2.9, "fd00::9" ] }
  - { name: c, namespace: red, labels: { app: envoy }, addresses: [ 10.244.3.4 ] }
"""


@pytest.mark.parametrize(
    ("step", "code", "said"),
    [
        ("expect backend 10.244.1.7 tcp to 10.96.0.40 port 443", 0, ""),
        ("expect backend 10.244.2.9 tcp from [app=web] to 10.96.0.40 port 443", 0, ""),
        ("expect backend 10.244.3.4 tcp to 10.96.0.40 port 443", 1, "10.244.1.7 or 10.244.2.9"),
        ("expect reject tcp from [app=envoy] to 10.96.0.40 port 9", 0, ""),
        ("given e = [app=envoy, ns.team=shop]  expect allow tcp from e to 10.96.0.40 port 9", 0, ""),
        ("given e = [app=envoy, ns.team=shop]  expect reject tcp from e to 10.96.0.40 port 9", 1, "`allow`"),
        ("given e = [app != envoy]", 1, "does not say one value of each label"),
        ("given shop = [app=web]", 1, "E0201"),
        ("given e = [app=web]  given e = [app=shop]", 1, "E0302"),
    ],
)
def test_labels_say_who_calls_and_who_answers(tmp_path: Path, step: str, code: int, said: str) -> None:
    policy, inventory = tmp_path / "p.gate", tmp_path / "i.yaml"
    policy.write_text(f'{LABELLED}test "t" of shop {{ {step} }}\n')
    inventory.write_text(INVENTORY)
    arguments = [str(policy), "--engine", "interp"]
    done = CliRunner().invoke(judge.test, [*arguments, "--endpoints", str(inventory)])
    assert done.exit_code == code and said in done.output, done.output
    if code == 0:
        done = CliRunner().invoke(judge.test, arguments)
        assert done.exit_code == 2 and "give --endpoints INVENTORY" in done.output


def test_hns_takes_no_labels(tmp_path: Path) -> None:
    policy = tmp_path / "p.gate"
    for more, said in (
        ("backends [app=a]", "by labels"),
        ("backends { 10.0.0.1 }  spread local-first", "local-first"),
    ):
        policy.write_text(f"balance s {{ vip 10.96.0.1  port tcp 80  {more} }}")
        done = CliRunner().invoke(build, [str(policy), "--target", "hns", "-o", str(tmp_path / "out")])
        assert done.exit_code == 1 and "E0710" in done.output and said in done.output


def test_a_backend_of_this_host_is_expected_first_and_labels_of_nobody_are_told(tmp_path: Path) -> None:
    policy, inventory = tmp_path / "p.gate", tmp_path / "i.yaml"
    text = LABELLED.replace("port tcp 443", "port tcp 443  spread local-first").replace("istio", "nobody")
    steps = "expect backend 10.244.2.9 tcp to 10.96.0.40 port 443"
    policy.write_text(f'{text}test "t" of shop {{ {steps} }}\n')
    inventory.write_text(INVENTORY.replace("envoy", "web"))
    arguments = [str(policy), "--endpoints", str(inventory)]
    done = CliRunner().invoke(judge.test, [*arguments, "--engine", "interp"])
    assert done.exit_code == 1 and "got `backend 10.244.1.7`" in done.output, done.output
    assert "W0532" in CliRunner().invoke(check, arguments).output


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
        assert done.exit_code == 1 and "E0710" in done.output and "service" in done.output
        assert not (tmp_path / "out").exists()
    text = CliRunner().invoke(build, [str(policy), "--emit", "llvm"]).output
    assert 'section "cgroup/getpeername6"' in text
