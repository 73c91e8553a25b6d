"""Answers to rejected packets, as scapy reads them, and as every engine makes them.

The reference (`stdlib_bpf.reply`) says which bytes go back. Here an independent library says whether they are
what the RFCs want, and both engines must make the same ones of every kind of packet that there is a rule
about.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator

import pytest

from lockgate.stdlib_bpf.answers import PACKETS
from lockgate.stdlib_bpf.decode.frame import Frame, Malformed, decode
from lockgate.stdlib_bpf.reply import reply
from tests import engines

from .packets import Maker
from .shapes import ICMP, ICMP6, IP4, IP6, UDP, Shape

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.layers import inet, inet6  # noqa: E402
from scapy.layers.l2 import Ether  # noqa: E402
from scapy.packet import Packet  # noqa: E402

POLICY = """
policy p at tc on "eth0" {{
  default allow
  {direction} {{
    reject ip{how}
    reject
  }}
}}
"""
HOWS = [word for word in PACKETS if word != "reset"]
V4, V6 = 0x0A000001, (0x20010DB8 << 96) + 1


def shapes() -> Iterator[Shape]:
    """One packet for every value that decides about an answer."""
    for family, src, icmp in ((IP4, V4, ICMP), (IP6, V6, ICMP6)):
        common = {"eth_type": family, "src": src, "dst": src + 1}
        for flags in range(64):
            yield Shape(**common, flags=flags, payload=bytes(flags % 5), tcp_options=4, data_offset=6)
        for kind in range(256):
            yield Shape(**common, protocol=icmp, icmp_type=kind)
        for size in (0, 1, 2, 79, 80, 81, 99, 100, 101, 127, 128, 200, 1400):
            yield Shape(
                **common, protocol=UDP, payload=bytes(range(256))[:size] * (1 + size // 257), padding=size % 3
            )
            yield Shape(**common, protocol=99, payload=b"\x55" * size)
        for tags in (((0x8100, 7),), ((0x88A8, 7), (0x8100, 8))):
            yield Shape(**common, tags=tags)
            yield Shape(**common, tags=tags, protocol=UDP, payload=b"\x55" * 300)
        for options in (4, 40) if family == IP4 else ():
            yield Shape(**common, options=options)
            yield Shape(**common, options=options, protocol=UDP)
    for address in (
        "00000001",
        "01000000",
        "7f000001",
        "dfffffff",
        "e0000001",
        "efffffff",
        "f0000001",
        "ffffffff",
    ):
        value = int(address, 16)
        yield Shape(src=value, dst=V4)
        yield Shape(src=V4, dst=value, protocol=UDP)
    for address in (0, 1, 0xFE << 120, 0xFEFF << 112, (0xFF << 120) + 1, (0xFF02 << 112) + 0xFB, 1 << 64):
        yield Shape(eth_type=IP6, src=address, dst=V6)
        yield Shape(eth_type=IP6, src=V6, dst=address, protocol=UDP)
    for fragment in (0x2000, 0x2001, 1):
        yield Shape(src=V4, dst=V4 + 1, fragment=fragment, protocol=UDP, payload=bytes(24))


def frames() -> list[bytes]:
    """Those, and two to group addresses."""
    made = [shape.frame() for shape in shapes()]
    return [*made, b"\x01" + made[0][1:], b"\xff" * 6 + made[0][6:]]


def drawn() -> list[bytes]:
    """Random ones."""
    unit = engines.load(POLICY.format(direction="ingress", how=""), {})
    return [p.data for p in Maker(unit.chains[0], {}, random.Random(7)).packets(300)]  # type: ignore[union-attr]


@pytest.mark.parametrize("direction", ["ingress", "egress"])
@pytest.mark.parametrize("how", HOWS)
def test_generated_code_makes_the_same_answers(direction: str, how: str) -> None:
    text = POLICY.format(direction=direction, how=f" with {how}" if how else "")
    case = engines.Case(text, tuple(Frame(frame) for frame in (*frames(), *drawn())))
    with engines.Opened(case) as opened:
        _, found = opened.judge(kernel=engines.why_no_kernel() is None)
        assert not found, found[0]


@pytest.mark.parametrize("how", PACKETS)
def test_answers_are_what_the_rfcs_want(how: str) -> None:
    seen = {"reset": 0, "error": 0, "silence": 0}
    for frame in frames():
        if isinstance(decode(frame), Malformed):
            continue
        back = reply(frame, how)
        if back is None:
            seen["silence"] += 1
            continue
        asked, answer = Ether(frame), Ether(back)
        assert (answer.src, answer.dst) == (asked.dst, asked.src)
        family = inet.IP if inet.IP in asked else inet6.IPv6
        assert (answer[family].src, answer[family].dst) == (asked[family].dst, asked[family].src)
        assert bytes(resummed(answer)) == back, "checksums and lengths"
        if answer[family].payload.name == "TCP":
            check_reset(asked[family], answer[family].payload)
            seen["reset"] += 1
        else:
            check_error(asked[family], answer[family], how)
            seen["error"] += 1
    wanted = {"reset"} if how == "reset" else {"error"} if not PACKETS[how].reset else {"reset", "error"}
    assert {name for name in ("reset", "error") if seen[name]} == wanted
    assert seen["silence"] > 100


def resummed(packet: Packet) -> Packet:
    """The packet with checksums and lengths as scapy makes them."""
    made = packet.copy()
    layer = made
    while layer:
        for name in ("chksum", "cksum", "len", "plen"):
            if name in layer.fields and not in_error(layer):
                del layer.fields[name]
        layer = layer.payload
    return Ether(bytes(made))


def in_error(layer: Packet) -> bool:
    """Whether a layer is quoted by an ICMP error."""
    return layer.name.endswith("in ICMP") or layer.name.endswith("in ICMPv6") or "error" in layer.name.lower()


def check_reset(asked: Packet, reset: Packet) -> None:
    """RFC 9293 §3.10.7.1, CLOSED."""
    segment = asked[inet.TCP]
    flags = int(segment.flags)
    assert not flags & 4, "a reset is not answered"
    assert (reset.sport, reset.dport) == (segment.dport, segment.sport)
    if flags & 16:
        assert (reset.seq, reset.ack, str(reset.flags)) == (segment.ack, 0, "R")
    else:
        whole = asked.len if inet.IP in asked else asked.plen + 40
        headers = len(asked) - len(segment) if inet.IP not in asked else asked.ihl * 4
        length = whole - headers - segment.dataofs * 4 + bool(flags & 2) + bool(flags & 1)
        assert (reset.seq, reset.ack, str(reset.flags)) == (0, (segment.seq + length) % 2**32, "RA")


def check_error(asked: Packet, answer: Packet, how: str) -> None:
    """RFC 792, RFC 4443 §3.1."""
    codes = PACKETS[how].codes
    assert codes is not None
    error = answer.payload
    if inet.IP in asked:
        assert (error.type, error.code) == (3, codes[0])
        whole = bytes(asked)[: asked.len]
    else:
        assert (error.type, error.code) == (1, codes[1])
        whole = bytes(asked)[: asked.plen + 40]
    assert bytes(error)[8:] == whole[:128]
