"""Lists that no single function holds: the kernel takes them, in no more steps than predicted, and judges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lockgate.compiler.driver import PolicyError, build_bundle
from lockgate.compiler.plan.cost import MAX_STEPS, steps
from lockgate.compiler.plan.ir import Plan
from lockgate.compiler.plan.parts import PART_INSNS
from lockgate.runtime import bundle
from tests import engines, packettext

from .test_budget import DECODING, verified

pytestmark = pytest.mark.kernel

Rule = Callable[[int], str]


def subnet(number: int) -> str:
    return f"10.{number >> 8 & 255}.{number & 255}.0/24"


def flags(number: int) -> str:
    return f"drop tcp from {subnet(number)} to port {number % 60_000 + 1} flags syn/syn,ack"


def with_if(number: int) -> str:
    return f"drop udp from {subnet(number)} to port {number % 60_000 + 1} if ip.ttl < {number % 250 + 2}"


def mixed(number: int) -> str:
    """All that takes room: effects, events, limits, tables, IPv6."""
    hosts = ", ".join(f"10.{number}.{host}.1" for host in range(0, 80, 2))
    return [
        f"continue udp from {subnet(number)} log count some",
        f"continue udp from {subnet(number)} to port {number + 1} dscp {number % 60}",
        f"drop udp from {subnet(number)} limit 10/s burst 5",
        f"drop udp from {subnet(number)} limit 10/s per flow",
        f"drop udp from {{ {hosts} }} if ip.ttl < 9",
        f"drop tcp from 2001:db8:{number:x}::/48 to port {number + 1} flags syn",
        f'redirect udp to {subnet(number)} port {number + 1} into "eth1"',
        f"drop tcp to port {{ {number + 1}-{number + 9}, {number + 2_000} }} if ip.dscp == 3 log sample 10",
    ][number % 8]


def udp(number: int) -> str:
    """A datagram as a rule of that number has it."""
    return f"udp 10.{number >> 8 & 255}.{number & 255}.7:9 > 192.0.2.1:{number % 60_000 + 1}"


def hold(rule: Rule, count: int, packets: list[str], part_insns: int = PART_INSNS) -> Plan:
    """Load so many rules: the verifier takes no more steps than predicted, the kernel judges packets as the
    reference does."""
    body = "\n".join(map(rule, range(count)))
    text = f'policy p at xdp on "lo" {{ fragments first-only default pass\n{body}\n}}\n'
    sent = tuple(map(packettext.parse, packets))
    with engines.Opened(engines.Case(text, sent, part_insns=part_insns)) as found:
        plan = found.session.plan(found.chain)
        (taken,) = verified(bundle.parse(found.session.bundle()))
        assert taken < steps(plan) + DECODING
        assert not list(found.differences(found.interp(kernel=True), found.kernel()))
    return plan


def test_more_rules_than_one_function_holds() -> None:
    numbers = (0, 1, 150, 777, 1_499)
    sent = [f"{udp(n)} ttl {n % 250 + more}" for n in numbers for more in (1, 2)]
    assert 1 < len(hold(with_if, 1_500, sent).parts) < 6


def test_steps_are_not_underestimated() -> None:
    assert len(hold(mixed, 112, [udp(n) for n in range(64)], 2_000).parts) > 4


@pytest.mark.exhaustive
@pytest.mark.parametrize("rule", [flags, with_if])
def test_twenty_thousand_rules(rule: Rule) -> None:
    last = udp(19_999)
    plan = hold(rule, 20_000, [last, f"{last} ttl 1", f"{last.replace('udp', 'tcp')} syn"])
    assert steps(plan) < MAX_STEPS
    assert len(plan.parts) < 40


def test_hundreds_of_limits_share_one_map() -> None:
    """Each rule has a bucket, and only its own packets empty it."""
    sent = [udp(n) for n in (0, 1, 199, 0, 1, 199, 0, 2, 255)]
    hold(lambda n: f"drop udp from {subnet(n)} to port {n + 1} limit 1/h burst {1 + n % 2}", 256, sent)


def test_limits_for_each_key_take_a_map_each(tmp_path: Path) -> None:
    """As many as are let through fit, and one more does not."""

    def build(count: int) -> bytes:
        path = tmp_path / "p.gate"
        body = "\n".join(f"drop udp to port {n + 1} limit 1/s per source" for n in range(count))
        path.write_text(f'policy p at xdp on "lo" {{ fragments first-only default pass\n{body}\n}}\n')
        return build_bundle(path)

    assert verified(bundle.parse(build(59)))
    with pytest.raises(PolicyError) as refused:
        build(60)
    (said,) = refused.value.diagnostics
    assert said.code == "E0703"
    assert "needs 65 maps, the limit is 64" in said.message
    assert "leave out `per`" in said.help[0]
