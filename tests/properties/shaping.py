"""How a shape gets a value of a field: one small function each, so that conditions find what they ask about.

Some fields do not go with every shape (IPv6 headers in an IPv4 packet, options of 3 bytes): the nearest thing
is done, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from .shapes import (
    AH,
    DESTINATION,
    FRAGMENT,
    HOP,
    IP4,
    IP6,
    MOBILITY,
    ROUTING,
    TCP,
    Extension,
    Shape,
    arp,
)

MAX_BYTES = 2_000
HEADERS = {
    "ip6.hop-by-hop": HOP,
    "ip6.routing": ROUTING,
    "ip6.destination": DESTINATION,
    "ip6.auth": AH,
    "ip6.mobility": MOBILITY,
    "ip6.frag-header": FRAGMENT,
}
ARP_AT = {"arp.op": (6, 2), "arp.sha": (8, 6), "arp.spa": (14, 4), "arp.tha": (18, 6), "arp.tpa": (24, 4)}


def apply(shape: Shape, field: str, value: int) -> None:
    """Give the shape that value, as far as it can have it."""
    family, _, word = field.partition(".")
    if field in SETTERS:
        SETTERS[field](shape, value)
    elif field in HEADERS:
        _header(shape, HEADERS[field], value)
    elif field in ARP_AT:
        at, size = ARP_AT[field]
        whole = shape.arp or arp()
        shape.arp = whole[:at] + value.to_bytes(size) + whole[at + size :]
    elif word in ("src", "dst") and shape.eth_type == {"ip4": IP4, "ip6": IP6}[family]:
        setattr(shape, word, value)


def _macs(shape: Shape, at: int, value: int) -> None:
    shape.macs = shape.macs[:at] + value.to_bytes(6) + shape.macs[at + 6 :]


def _tag(shape: Shape, kept: int, bits: int) -> None:
    (tpid, tci), *rest = shape.tags or ((0x8100, 0),)
    shape.tags = ((tpid, tci & kept | bits), *rest)


def _header(shape: Shape, kind: int, wanted: int) -> None:
    others = [e for e in shape.extensions if e.kind != kind]
    if not wanted:
        shape.extensions = others
    elif len(others) == len(shape.extensions):
        shape.extensions.append(Extension(kind, 4 if kind == AH else 0))


def _routing(shape: Shape, at: int, value: int) -> None:
    _header(shape, ROUTING, 1)
    first = next(e for e in shape.extensions if e.kind == ROUTING)
    said = bytearray(first.filling.ljust(2, b"\0"))
    said[at] = value
    first.filling = bytes(said)


def _fragment(shape: Shape, kind: int) -> None:
    if shape.eth_type == IP4:
        shape.fragment = (0x4000, 0x2000, 0x2003, 3)[kind]
        return
    shape.extensions = [e for e in shape.extensions if e.kind != FRAGMENT]
    if kind:
        shape.extensions.append(Extension(FRAGMENT, 0, (0, 1, 9, 8)[kind]))


def _length(shape: Shape, wanted: int, whole: Callable[[], bytes]) -> None:
    shape.payload += bytes(max(0, min(wanted, MAX_BYTES) - len(whole())))


def _tcp_header(shape: Shape, length: int) -> None:
    if shape.protocol == TCP:
        shape.tcp_options = max(0, length // 4 * 4 - 20)
        shape.data_offset = 5 + shape.tcp_options // 4


def _options(shape: Shape, length: int) -> None:
    shape.options = min(40, length // 4 * 4)


SETTERS: dict[str, Callable[[Shape, int], None]] = {
    "eth.dst": lambda s, v: _macs(s, 0, v),
    "eth.src": lambda s, v: _macs(s, 6, v),
    "vlan.id": lambda s, v: _tag(s, 0xF000, v),
    "vlan.priority": lambda s, v: _tag(s, 0x1FFF, v << 13),
    "ip.ttl": lambda s, v: setattr(s, "ttl", v),
    "ip.dscp": lambda s, v: setattr(s, "traffic_class", s.traffic_class & 3 | v << 2),
    "ip.ecn": lambda s, v: setattr(s, "traffic_class", s.traffic_class & 0xFC | v),
    "ip.length": lambda s, v: _length(s, v, s.network),
    "ip.fragment": _fragment,
    "ip4.options": _options,
    "ip6.routing-type": lambda s, v: _routing(s, 0, v),
    "ip6.segments-left": lambda s, v: _routing(s, 1, v),
    "th.sport": lambda s, v: setattr(s, "sport", v),
    "th.dport": lambda s, v: setattr(s, "dport", v),
    "tcp.flags": lambda s, v: setattr(s, "flags", v),
    "tcp.window": lambda s, v: setattr(s, "window", v),
    "tcp.header": _tcp_header,
    "icmp.type": lambda s, v: setattr(s, "icmp_type", v),
    "icmp6.type": lambda s, v: setattr(s, "icmp_type", v),
    "icmp.code": lambda s, v: setattr(s, "icmp_code", v),
    "icmp6.code": lambda s, v: setattr(s, "icmp_code", v),
    "meta.length": lambda s, v: setattr(s, "padding", max(0, min(v, MAX_BYTES) - len(s.frame()))),
    "meta.mark": lambda s, v: setattr(s, "mark", v),
    "meta.iif": lambda s, v: setattr(s, "iif", v),
}
