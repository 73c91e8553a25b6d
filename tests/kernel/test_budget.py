"""Programs that read all there is to read stay far below what the kernel takes: 512 bytes of stack (LLVM's
word) and a million verified instructions (the kernel's)."""

from __future__ import annotations

import struct

import pytest

from lockgate.compiler.plan.parts import PART_INSNS
from lockgate.runtime import bundle, loader, plan
from lockgate.runtime.sys import bpf
from lockgate.stdlib_bpf import fields
from tests import engines

pytestmark = pytest.mark.kernel

VERIFIED_AT = 216  # of struct bpf_prog_info, include/uapi/linux/bpf.h
DECODING = 30_000  # more than a program takes that only decodes
FAMILY = {"ip4": "ip4", "ip6": "ip6", "arp": "arp", "icmp": "icmp", "icmp6": "icmp6", "tcp": "tcp"}


def rules(hook: str) -> list[str]:
    """One rule for each field, then what else takes room."""
    found = []
    for field in fields.ALL:
        if hook in field.hooks and field.style in ("int", "hex") and field.width_bits <= 64:
            kind = "tcp" if field.name.startswith("th.") else FAMILY.get(field.name.partition(".")[0], "")
            asked = field.name if field.width_bits == 1 else f"{field.name} == {field.possible.ranges[-1][1]}"
            found.append(f"continue {kind} if {asked}")
    found.append("continue from { 10.0.0.0/8, 2001:db8::/32 } to { 10.1.0.0/16, 2001:db8:1::/48 }")
    found.append("continue udp limit 10/s per flow")
    found.append("continue udp count all log sample 10")
    return found


def verified(compiled: bundle.Bundle) -> list[int]:
    """How many instructions the verifier followed through each program."""
    with loader.load(plan.make(compiled)) as loaded:
        raw = [bpf._info(program, 232) for program in loaded.programs.values()]
    return [number for info in raw for number in struct.unpack_from("<I", info, VERIFIED_AT)]


@pytest.mark.parametrize("part_insns", [PART_INSNS, 500])
@pytest.mark.parametrize("place", ["xdp", "tc"])
def test_reading_everything_is_cheap_to_verify(place: str, part_insns: int) -> None:
    body = "\n".join(rules(place))
    body = body if place == "xdp" else f"ingress {{ {body} }}"
    text = f'policy p at {place} on "lo" {{ fragments track default pass\n{body}\n}}\n'
    with engines.Opened(engines.Case(text, (), part_insns=part_insns)) as opened:
        compiled = bundle.parse(opened.session.bundle())
    assert all(1_000 < number < 100_000 for number in verified(compiled))


@pytest.mark.parametrize("source", ["from 10.0.0.0/8 ", "from 2001:db8::/32 "])
def test_the_steps_of_classifiers_are_not_underestimated(source: str) -> None:
    """Rules that nothing tells apart: one leaf has them all."""
    body = "\n".join(
        f"drop tcp {source}port {n + 1}-{n + 20_001} to port {40_000 - n}-{60_000 - n}" for n in range(400)
    )
    text = f'policy p at xdp on "lo" {{ fragments first-only default pass\n{body}\n}}\n'
    with engines.Opened(engines.Case(text, ())) as opened:
        steps = opened.session.module(opened.session.unit.chains[0]).classifier_steps
        (number,) = verified(bundle.parse(opened.session.bundle()))
    assert DECODING / 2 < number < steps + DECODING
