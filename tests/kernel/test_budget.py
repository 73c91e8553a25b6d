"""Programs that read all there is to read stay far below what the kernel takes: 512 bytes of stack (LLVM's
word) and a million verified instructions (the kernel's)."""

from __future__ import annotations

import struct

import pytest

from lockgate.runtime import bundle, loader, plan
from lockgate.runtime.sys import bpf
from lockgate.stdlib_bpf import fields
from tests import engines

pytestmark = pytest.mark.kernel

VERIFIED_AT = 216  # of struct bpf_prog_info, include/uapi/linux/bpf.h
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


@pytest.mark.parametrize("place", ["xdp", "tc"])
def test_reading_everything_is_cheap_to_verify(place: str) -> None:
    body = "\n".join(rules(place))
    body = body if place == "xdp" else f"ingress {{ {body} }}"
    text = f'policy p at {place} on "lo" {{ fragments track default pass\n{body}\n}}\n'
    with engines.Opened(engines.Case(text, ())) as opened:
        compiled = bundle.parse(opened.session.bundle())
    with loader.load(plan.make(compiled)) as loaded:
        for program in loaded.programs.values():
            (verified,) = struct.unpack_from("<I", bpf._info(program, 232), VERIFIED_AT)
            assert 1_000 < verified < 100_000
