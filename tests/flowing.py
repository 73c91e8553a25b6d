"""Packets of flows for tests: by ends, protocol and flags, for both families; errors that quote others; and
who has which address.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import replace

from lockgate.compiler import frames
from lockgate.compiler.packet import parse
from lockgate.compiler.policy.model import Chain, Rule
from lockgate.compiler.source import Source, Span
from lockgate.stdlib_bpf.decode.frame import Frame
from lockgate.stdlib_bpf.decode.quote import ICMP_OF
from lockgate.stdlib_bpf.labels import HOST, WORKLOAD, Selection, Selector
from lockgate.stdlib_bpf.state.endpoints import THIS_HOST, Address, Endpoints, Record

SPAN = Span(Source("flows.gate", "rule"), 0, 4)
SECOND_NS = 1_000_000_000
IN, OUT = "workload_ingress", "workload_egress"
HOST_IN, HOST_OUT = "host_ingress", "host_egress"


def address(text: str) -> Address:
    """An address as records and facts have it."""
    one = ipaddress.ip_address(text)
    return one.version, int(one)


def chain(*rules: Rule, default: str = "drop", selections: tuple[Selection, ...] = ()) -> Chain:
    """A chain at the hook of endpoints."""
    return Chain("pods", "endpoint", "", (), default, rules, SPAN, fragments="track", selections=selections)


def rule(verdict: str, **parts: object) -> Rule:
    """A rule of a chain."""
    return Rule(SPAN, verdict, **parts)  # type: ignore[arg-type]


PODS = Selection((Selector(WORKLOAD),))
# Pod `a` at interface 10, `b` at 11, both with an address of each family; this host; another node.
A4, B4, HOST4, NODE4, WORLD4 = "10.0.0.1", "10.0.0.2", "10.9.0.1", "10.9.0.2", "192.0.2.7"
A6, B6, HOST6, WORLD6 = "2001:db8::1", "2001:db8::2", "2001:db8:9::1", "2001:db8:f::7"
A_IF, B_IF = 10, 11


def endpoints(
    version: int = 0, a: frozenset[int] = frozenset({0}), b: frozenset[int] = frozenset({0})
) -> Endpoints:
    """Everyone, and the selections that take the pods."""
    one, two = Record(1, WORKLOAD, A_IF, a), Record(2, WORKLOAD, B_IF, b)
    host, node = Record(3, HOST), Record(4, HOST)
    addresses = {A4: one, A6: one, B4: two, B6: two, HOST4: host, HOST6: host, NODE4: node}
    return Endpoints(
        {address(text): record for text, record in addresses.items()},
        {A_IF: one, B_IF: two, THIS_HOST: host},
        version,
    )


def _end(text: str, port: int | None) -> str:
    shown = f"[{text}]" if ":" in text else text
    return shown if port is None else f"{shown}:{port}"


def seen(frame: Frame, point: str, ifindex: int = A_IF, at_s: float = 0.0) -> Frame:
    """A frame where and when a program sees it."""
    return replace(frame, point=point, ifindex=ifindex, time_ns=round(at_s * SECOND_NS))


def packet(proto: str, src: str, sport: int, dst: str, dport: int, what: str = "") -> Frame:
    """A packet with ports; `what`: more words of a packet's text, such as flags."""
    found = parse(f"{proto} {_end(src, sport)} > {_end(dst, dport)} {what}")
    assert isinstance(found, Frame)
    return found


def icmp(src: str, dst: str, type_: int, echo: int = 0, code: int = 0, quote: bytes = b"") -> Frame:
    """An ICMP packet of the addresses' family: `echo` is its identifier, `quote` what it quotes."""
    family = address(src)[0]
    name = "icmp" if family == 4 else "icmp6"
    found = parse(f"{name} {_end(src, None)} > {_end(dst, None)} type {type_} code {code}")
    assert isinstance(found, Frame)
    head = 14 + (20 if family == 4 else 40)
    message = struct.pack("!BBHHH", type_, code, 0, echo, 1) + (quote or bytes(8))
    data = bytearray(found.data[:head] + message)
    if family == 4:
        data[16:18] = struct.pack("!H", len(data) - 14)
        data[24:26] = bytes(2)
        data[24:26] = struct.pack("!H", frames.checksum(bytes(data[14:34])))
    else:
        data[18:20] = struct.pack("!H", len(message))
    assert ICMP_OF[family] in (data[23], data[20])
    return Frame(bytes(data))


def error(src: str, dst: str, about: Frame, type_: int | None = None) -> Frame:
    """An ICMP error that quotes a packet: unreachable, unless another type is asked for."""
    usual = 3 if address(src)[0] == 4 else 1
    return icmp(src, dst, usual if type_ is None else type_, quote=about.data[14 : 14 + 48])
