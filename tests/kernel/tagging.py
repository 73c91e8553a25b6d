"""All traffic of a device in a VLAN in a VLAN, without a VLAN device: two small tc programs put the tags on
what leaves and take them off what arrives. What a policy behind the former sees has one tag in the frame and
one beside it, and a checksum that is as its socket left it.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from lockgate.runtime.sys import bpf
from lockgate.runtime.sys.netns import inside


def _insn(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, source << 4 | to, offset, value)


VLAN_PUSH, VLAN_POP, TCX_INGRESS, TCX_EGRESS, TC_ACT_SHOT = 18, 19, 46, 47, 2
TAGS = ((0x8100, 5 << 13 | 8), (0x88A8, 7))  # as they are pushed: the last is the outermost


def _program(name: str, attach_type: int, *code: bytes) -> bpf.Program:
    """A tc program that keeps its context in r6 and lets packets go on."""
    whole = b"".join((_insn(0xBF, 6, 1), *code, _insn(0xB7, 0, value=-1), _insn(0x95)))
    return bpf.Program(name, 3, attach_type, whole, "GPL")


def _tagging() -> bpf.Program:
    """Puts the tags on what leaves: the inner one lies in the frame then, the outer one beside it."""
    code = [
        part
        for ethertype, control in TAGS
        for part in (
            _insn(0xBF, 1, 6),
            _insn(0xB7, 2, value=socket.htons(ethertype)),
            _insn(0xB7, 3, value=control),
            _insn(0x85, value=VLAN_PUSH),
        )
    ]
    return _program("tagging", TCX_EGRESS, *code)


def _untagging() -> bpf.Program:
    """Takes the tags off what arrives, and drops what has others."""
    code = [
        part
        for _, control in reversed(TAGS)
        for part in (
            _insn(0x61, 0, 6, 24),  # vlan_tci of struct __sk_buff
            _insn(0x15, 0, 0, 2, control),
            _insn(0xB7, 0, value=TC_ACT_SHOT),
            _insn(0x95),
            _insn(0xBF, 1, 6),
            _insn(0x85, value=VLAN_POP),
        )
    ]
    return _program("untagging", TCX_INGRESS, *code)


@contextmanager
def behind_two_tags(netns_name: str, device: str) -> Iterator[None]:
    """All traffic of a device is in a VLAN in a VLAN, and its namespace does not know."""
    with ExitStack() as stack:
        with inside(netns_name):
            ifindex = socket.if_nametoindex(device)
            for program in (_tagging(), _untagging()):
                loaded = stack.enter_context(bpf.prog_load(program, None)[0])
                link = bpf.link_create(loaded, ifindex, program.expected_attach_type, 0, device)
                stack.enter_context(link)
        yield
