"""The reference decoder judged by somebody else: scapy dissects the same frames.

What scapy finds where a frame is whole must be what `decode` says, field by field, and a field that scapy
does not find must be missing. Truncation never raises, and never changes a field: malformed, or equal.
The generated decoder is judged too, on all fields at once.
"""

from __future__ import annotations

import ipaddress
import logging
import random

import pytest

from lockgate.compiler.codegen.lower import lower as lower_plan
from lockgate.compiler.codegen.simulate import NativeChain
from lockgate.compiler.match.ir import Match, MatchProgram, RuleInfo
from lockgate.compiler.match.verify import verify
from lockgate.compiler.plan.lower import lower as lower_match
from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.decode.frame import Facts, Frame, Malformed, decode
from lockgate.stdlib_bpf.sets import IntervalSet
from tests import engines

from .packets import Maker
from .shapes import ARP as ARP_TYPE
from .shapes import DESTINATION, FRAGMENT, HOP, IP4, IP6, MOBILITY, ROUTING, Extension, Shape

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP  # noqa: E402 - the logger comes first, or scapy talks
from scapy.layers.inet6 import (  # noqa: E402
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    _IPv6GuessPayload,
    ipv6nhcls,
)
from scapy.layers.ipsec import AH  # noqa: E402
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether  # noqa: E402
from scapy.layers.sctp import SCTP  # noqa: E402
from scapy.packet import Packet, Raw, split_layers  # noqa: E402

POLICY = """
network near = { 10.0.0.0/8, 192.0.2.7, 2001:db8::/33, fe80::1 }
policy p at xdp on "eth0" {
  default pass  fragments first-only
  drop tcp from near port 1000-2000 to port { 22, 80 } flags syn/syn,ack
  drop udp to near port 53
  drop sctp to port 1
  drop icmp type 8
  drop icmp6 type 135
}
"""
FRAMES = 4_000
ASKED = frozenset(f.name for f in fields.ALL if "tc" in f.hooks)


def frames(seed: int, count: int) -> list[tuple[Shape, bytes]]:
    """Well-formed frames with the shapes they were made from."""
    maker = Maker(engines.load(POLICY, {}).chains[0], {}, random.Random(seed))
    shapes = [maker.shape() for _ in range(count)]
    return [(shape, shape.frame()) for shape in shapes]


def address(text: str) -> int:
    """An address of either family as scapy writes it."""
    return int(ipaddress.ip_address(text))


def dissected(frame: bytes) -> Facts:
    """The fields of a frame, by scapy. Only the limits of the language are ours: two tags, and no transport
    header behind what is no extension header."""
    layer: Packet = Ether(frame)
    tags = 0
    while isinstance(layer.payload, Dot1Q | Dot1AD) and tags < 2:
        layer, tags = layer.payload, tags + 1
    outer = Ether(frame)
    found: Facts = {
        "eth.type": layer.type,
        "eth.src": mac(outer.src),
        "eth.dst": mac(outer.dst),
        "meta.length": len(frame),
        "meta.mark": 0,  # this and what follows is no part of a frame
        "meta.iif": 0,
        "meta.segments": 1,
        "meta.time": 0,
    }
    if tags:
        found |= {"vlan.id": outer.payload.vlan, "vlan.priority": outer.payload.prio}
    if layer.type == ARP_TYPE:
        arp(layer.payload, found)
    elif layer.type == IP4:
        ip = layer.payload
        assert isinstance(ip, IP)
        found |= {"ip.proto": ip.proto, "ip4.src": address(ip.src), "ip4.dst": address(ip.dst)}
        found |= {"ip.ttl": ip.ttl, "ip.dscp": ip.tos >> 2, "ip.ecn": ip.tos & 3, "ip.length": ip.len}
        found |= {"ip4.options": ip.ihl * 4 - 20, "meta.datagram": ip.id}
        found["ip.fragment"] = 2 if ip.frag else 1 if ip.flags.MF else 0
        if ip.frag == 0:
            found["l4.proto"] = ip.proto
            transport(ip.payload, found)
    elif layer.type == IP6:
        ip = layer.payload
        assert isinstance(ip, IPv6)
        found |= {"ip6.src": address(ip.src), "ip6.dst": address(ip.dst)}
        found |= {"ip.ttl": ip.hlim, "ip.dscp": ip.tc >> 2, "ip.ecn": ip.tc & 3, "ip.length": ip.plen + 40}
        found |= dict.fromkeys((*NOTED.values(), "ip6.mobility", "ip.fragment"), 0)
        six(ip, found)
    return found


def six(ip: IPv6, found: Facts) -> None:
    """Behind the IPv6 header: scapy's chain of extension headers."""
    layer: Packet = ip
    number = ip.nh
    while isinstance(layer.payload, EXTENSIONS):
        layer, number = layer.payload, layer.payload.nh
        found[next(name for kind, name in NOTED.items() if isinstance(layer, kind))] = 1
        if isinstance(layer, IPv6ExtHdrRouting):
            found.setdefault("ip6.routing-type", layer.type)
            found.setdefault("ip6.segments-left", layer.segleft)
        if isinstance(layer, IPv6ExtHdrFragment):
            found["ip.fragment"] = 2 if layer.offset else max(found["ip.fragment"], layer.m)
            found["meta.datagram"] = layer.id
            if layer.offset:
                found["ip.proto"] = number
                return
    found["ip.proto"] = found["l4.proto"] = number
    transport(layer.payload, found)


NOTED = {
    IPv6ExtHdrHopByHop: "ip6.hop-by-hop",
    IPv6ExtHdrRouting: "ip6.routing",
    IPv6ExtHdrDestOpt: "ip6.destination",
    IPv6ExtHdrFragment: "ip6.frag-header",
    AH: "ip6.auth",
}
EXTENSIONS = tuple(NOTED)
# scapy knows the length of this one, and not that what follows it may be known too; to it, 0 is IPv4 there.
split_layers(AH, IP, nh=0)
ipv6nhcls[51], ipv6nhcls[132] = AH, SCTP
AH.default_payload_class = _IPv6GuessPayload.default_payload_class


def transport(layer: Packet, found: Facts) -> None:
    """The transport header's fields."""
    if isinstance(layer, TCP | UDP | SCTP):
        found |= {"th.sport": layer.sport, "th.dport": layer.dport}
    if isinstance(layer, TCP):
        found |= {"tcp.flags": int(layer.flags), "tcp.window": layer.window, "tcp.header": layer.dataofs * 4}
    elif found["l4.proto"] == 1 and "ip4.src" in found:
        found["icmp.type"], found["icmp.code"] = icmp(layer)
        found["meta.echo"] = int.from_bytes(layer.original[4:6])
    elif found["l4.proto"] == 58 and "ip6.src" in found:
        found["icmp6.type"], found["icmp6.code"] = icmp(layer)
        found["meta.echo"] = int.from_bytes(layer.original[4:6])


def icmp(layer: Packet) -> tuple[int, int]:
    """Type and code; scapy leaves messages raw that are shorter than their type asks for."""
    if isinstance(layer, Raw):
        return layer.load[0], layer.load[1]
    # Of messages that have no codes scapy's class says nothing; its bytes do.
    return int(layer.type), int(layer.code) if "code" in layer.fields else bytes(layer)[1]


def arp(layer: Packet, found: Facts) -> None:
    """ARP's fields, where it is of Ethernet and IPv4 and whole."""
    if not isinstance(layer, ARP) or len(layer.original) < 28:
        return
    if (layer.hwtype, layer.ptype, layer.hwlen, layer.plen) == (1, IP4, 6, 4):
        found |= {"arp.op": layer.op, "arp.sha": mac(layer.hwsrc), "arp.tha": mac(layer.hwdst)}
        found |= {"arp.spa": address(layer.psrc), "arp.tpa": address(layer.pdst)}


def mac(text: str) -> int:
    """A MAC address as scapy writes it."""
    return int(text.replace(":", ""), 16)


def tamed(shape: Shape) -> Shape:
    """The same, with extension headers whose insides scapy can read: PadN options, addresses of 16 bytes."""
    for extension in shape.extensions:
        if extension.kind in (HOP, DESTINATION):
            extension.filling = bytes((1, extension.units * 8 + 4))
        elif extension.kind == ROUTING:
            extension.units &= ~1
            extension.filling = routing_filling(extension)
        elif extension.kind == MOBILITY:
            extension.kind = DESTINATION  # scapy 2.7 takes mobility headers for 8 bytes shorter than RFC 6275
            extension.filling = bytes((1, extension.units * 8 + 4))
    return shape


def routing_filling(extension: Extension) -> bytes:
    """scapy takes types 2 and 4 apart, and wants their insides to fit."""
    kind, left = extension.filling[:2].ljust(2, b"\1")
    return bytes((3 if kind in (2, 4) else kind, left))


def unquoted(facts: Facts | Malformed) -> Facts | Malformed:
    """Without what an error quotes: bytes at random are no packet to scapy."""
    return (
        {k: v for k, v in facts.items() if not k.startswith("quote.")} if isinstance(facts, dict) else facts
    )


QUOTED = [
    (TCP(sport=1000, dport=22), {"proto": 6, "sport": 1000, "dport": 22}),
    (UDP(sport=53, dport=5353), {"proto": 17, "sport": 53, "dport": 5353}),
    (SCTP(sport=7, dport=8), {"proto": 132, "sport": 7, "dport": 8}),
    (Raw(b"12345678"), {"proto": 253}),
]


@pytest.mark.parametrize("ipv4_options", [0, 1, 10])
@pytest.mark.parametrize(("payload", "said"), QUOTED)
def test_what_an_error_quotes(payload: Packet, said: Facts, ipv4_options: int) -> None:
    four = IP(src="10.0.0.1", dst="10.0.0.2", options=[IPOption_NOP()] * 4 * ipv4_options)
    six = IPv6(src="2001:db8::1", dst="2001:db8::2")
    if isinstance(payload, Raw):
        four.proto = six.nh = 253
    frames = [
        Ether() / IP(src="192.0.2.1", dst="10.0.0.1") / ICMP(type=3, code=4) / four / payload,
        Ether() / IPv6(src="2001:db8::f", dst="2001:db8::1") / ICMPv6PacketTooBig() / six / payload,
    ]
    for frame, src in zip(frames, ("10.0.0.1", "2001:db8::1"), strict=True):
        whole = bytes(frame)
        facts = decode(whole)
        assert isinstance(facts, dict)
        ends = {"src": address(src), "dst": address(src) + 1}
        assert {k: v for k, v in facts.items() if k.startswith("quote.")} == {
            f"quote.{name}": value for name, value in (ends | said).items()
        }


def test_fields_are_what_scapy_finds() -> None:
    compared = 0
    seen: set[str] = set()
    for shape, _ in frames(1, FRAMES):
        if len(shape.extensions) > 6:
            continue  # more than we walk: `too_many_extension_headers.ft`
        frame = tamed(shape).frame()
        assert unquoted(decode(frame)) == dissected(frame), f"{frame.hex()} {shape}"
        compared += 1
        seen |= dissected(frame).keys()
    assert seen >= {f.name for f in fields.ALL if "xdp" in f.hooks}
    assert compared > FRAMES * 3 // 4


@pytest.mark.parametrize("kind", range(12))
def test_truncation_is_malformed_or_equal(kind: int) -> None:
    """Every length of some frames of every kind: never an exception, never another field."""
    for shape, whole in frames(100 + kind, 12):
        if isinstance(decode(whole), Malformed):
            assert len(shape.extensions) > 6, shape
            continue
        for length in range(len(whole) - shape.padding):
            cut = decode(whole[:length])
            if not isinstance(cut, Malformed):
                assert lasting(cut) == lasting(decode(whole))
                assert cut["eth.type"] not in (IP4, IP6), (
                    "an IP packet's own length says that bytes are missing"
                )
            assert isinstance(decode(Frame(whole[:length], vlan_tci=7)), Malformed | dict)


def lasting(found: Facts | Malformed) -> Facts | Malformed:
    """What does not depend on where the frame ends: all but its length, and ARP's fields, which are missing
    when ARP is cut short."""
    if isinstance(found, Malformed):
        return found
    return {name: value for name, value in found.items() if name != "meta.length" and "arp." not in name}


def test_bytes_behind_the_packet_change_nothing() -> None:
    for shape, whole in frames(7, 500):
        if shape.eth_type in (IP4, IP6):
            assert lasting(decode(whole + b"\xaa" * 9)) == lasting(decode(whole))


def test_the_generated_decoder_reads_the_same_fields() -> None:
    """One rule for each frame, which asks for all its fields at once; those with more fields come first. So a
    frame reaches its own rule only when the generated code read every field as the reference did."""
    for seed in range(6):
        made = [as_tc_sees(shape, frame) for shape, frame in frames(200 + seed, 60)]
        facts = [decode(frame) for frame in made]
        whole = sorted(
            {tuple(sorted(f.items())) for f in facts if isinstance(f, dict)}, key=lambda f: (-len(f), f)
        )
        rules = tuple(RuleInfo(str(i), "drop", "p.gate", 1) for i in range(len(whole)))
        matches = tuple(
            Match(
                tuple(
                    sorted(
                        ((n, IntervalSet.of(v)) for n, v in found if n in ASKED),
                        key=lambda test: fields.sort_key(test[0]),
                    )
                ),
                i,
                (i,),
            )
            for i, found in enumerate(whole)
        )
        program = MatchProgram("p", "tc", "ingress", "pass", rules, matches)
        verify(program)
        module = lower_plan(lower_match(program), {"p.gate": "p"}, 1, 0)
        with NativeChain(engines.worker(), module) as native:
            for frame, found, decision in zip(made, facts, native.run(made), strict=True):
                if isinstance(found, Malformed):
                    assert decision.rule == -2, frame
                else:
                    assert without(whole[decision.rule]) == without(tuple(sorted(found.items()))), frame


def as_tc_sees(shape: Shape, frame: bytes) -> Frame:
    """With a mark, not all linear, and every other outer tag in metadata."""
    linear = 14 + shape.sport % 50
    if shape.tags and shape.dport % 2:
        return Frame(frame[:12] + frame[16:], shape.tags[0][1], linear, shape.mark)
    return Frame(frame, None, linear, shape.mark)


def without(found: tuple[tuple[str, int], ...]) -> Facts:
    """Facts that a match can ask about."""
    return {name: value for name, value in found if name in ASKED}


def test_the_fragment_header_has_one_length() -> None:
    """Its second byte is reserved, not a length: scapy agrees."""
    shape = Shape(eth_type=IP6, src=1, dst=2, dport=22)
    shape.extensions = [Extension(FRAGMENT, units=9)]
    assert decode(shape.frame()) == dissected(shape.frame())
