"""Values in options: addresses, ports, flags, rates. BadValueError for what is none."""

from __future__ import annotations

import ipaddress
from fractions import Fraction

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

from ... import codes
from ..refusals import BadValueError, NotSayableError
from .draft import Draft

FLAGS = {name.upper(): bit for name, bit in codes.TCP_FLAGS.items() if bit < 64}
FLAGS |= {"ALL": 63, "NONE": 0}
PROTOCOLS = {
    "tcp": 6, "udp": 17, "udplite": 136, "icmp": 1, "icmpv6": 58, "ipv6-icmp": 58, "esp": 50, "ah": 51,
    "sctp": 132, "dccp": 33, "gre": 47, "igmp": 2, "ipip": 4, "ipencap": 4, "ospf": 89, "vrrp": 112,
    "pim": 103, "ipv6": 41, "ipv6-frag": 44, "ipv6-route": 43, "ipv6-nonxt": 59, "ipv6-opts": 60,
    "eigrp": 88, "l2tp": 115, "mobility-header": 135, "ipv6-mh": 135, "ip": 0, "hopopt": 0,
}  # fmt: skip
PER = {"sec": "s", "second": "s", "s": "s", "min": "m", "minute": "m", "m": "m", "hour": "h", "h": "h"}
WITH_PORTS = fields.WITH_PORTS


def number(text: str, most: int) -> int:
    """A decimal or hexadecimal number up to `most`."""
    try:
        value = int(text, 0)
    except ValueError:
        raise BadValueError(text, "is not a number") from None
    if not 0 <= value <= most:
        raise BadValueError(text, f"is not between 0 and {most}")
    return value


def span_of(text: str, most: int, sign: str = ":") -> IntervalSet:
    """`a`, `a:b`, `a:` or `:b`."""
    low, colon, high = text.partition(sign)
    if not colon:
        return IntervalSet.of(number(low, most))
    first, last = number(low or "0", most), number(high or str(most), most)
    if first > last:
        raise BadValueError(text, "runs backwards")
    return IntervalSet.of((first, last))


def addresses(text: str, family: int) -> IntervalSet:
    """`ADDRESS`, `ADDRESS/LENGTH`, `ADDRESS/MASK`, or several with commas. A mask with holes cannot be
    said."""
    ranges: list[tuple[int, int]] = []
    for part in text.split(","):
        try:
            network = ipaddress.ip_network(part, strict=False)
        except ValueError:
            if "/" in part and _is_address(part.partition("/")[0]) and _is_address(part.partition("/")[2]):
                raise NotSayableError(part, "a mask with holes is no prefix") from None
            raise BadValueError(part, "is not an address") from None
        if network.version != family:
            raise BadValueError(part, f"is no IPv{family} address")
        ranges.append((int(network.network_address), int(network.broadcast_address)))
    return IntervalSet.from_ranges(ranges)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def address_range(text: str, family: int) -> IntervalSet:
    """`FIRST-LAST`."""
    try:
        low, high = (ipaddress.ip_address(part) for part in text.split("-"))
    except ValueError:
        raise BadValueError(text, "is no range of addresses") from None
    if low.version != family or high.version != family or int(low) > int(high):
        raise BadValueError(text, f"is no range of IPv{family} addresses")
    return IntervalSet.of((int(low), int(high)))


def protocol(text: str) -> int | None:
    """A protocol by name or number; None for all."""
    if text in ("all", "0"):
        return None
    return PROTOCOLS[text] if text in PROTOCOLS else number(text, 255)


def ports(text: str) -> IntervalSet:
    """`22`, `1024:65535`, or several with commas."""
    return IntervalSet.from_ranges(r for part in text.split(",") for r in span_of(part, 65535))


def flags(text: str) -> int:
    """Names of TCP flags with commas as bits."""
    bits = 0
    for name in text.split(","):
        if name not in FLAGS:
            raise BadValueError(name, "is no TCP flag")
        bits |= FLAGS[name]
    return bits


def with_flags(mask: int, value: int) -> IntervalSet:
    """Every byte of flags of which those of `mask` are exactly `value`."""
    return IntervalSet.of(*(v for v in range(256) if v & mask == value))


def rate(text: str) -> str:
    """`3/min` as `3/m`; a rate for a day only where it is one for an hour."""
    amount, slash, unit = text.partition("/")
    count = number(amount, 1_000_000)
    unit = unit if slash else "sec"
    if unit in ("day", "d"):
        hourly = Fraction(count, 24)
        if hourly.denominator != 1:
            raise NotSayableError(text, "rates are for a second, a minute or an hour")
        return f"{hourly.numerator}/h"
    if unit not in PER:
        raise BadValueError(text, "is no rate")
    return f"{count}/{PER[unit]}"


def need_ports(draft: Draft) -> None:
    """The rule must be about protocols with ports."""
    protocols = draft.protocols
    if draft.boxes and (protocols is None or not protocols.issubset(WITH_PORTS)):
        raise NotSayableError(draft.module or "ports", "ports are those of TCP, UDP and SCTP")
