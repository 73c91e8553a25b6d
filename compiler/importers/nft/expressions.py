"""What expressions look at, and values as sets of numbers. Source: libnftables-json(5), nft(8).

Knows which field an expression is, one row each, and what must hold beside it; must never know rules.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

from ... import codes
from ..iptables.values import PROTOCOLS
from ..model import full
from ..refusals import BadValueError, NotSayableError

# (kind, name): payload `protocol field`, or meta key → field.
FIELDS: dict[tuple[str, str], str] = {
    ("ether", "saddr"): "eth.src", ("ether", "daddr"): "eth.dst", ("ether", "type"): "eth.type",
    ("vlan", "id"): "vlan.id", ("vlan", "pcp"): "vlan.priority",
    ("ip", "saddr"): "ip4.src", ("ip", "daddr"): "ip4.dst", ("ip", "protocol"): "ip.proto",
    ("ip", "ttl"): "ip.ttl", ("ip", "length"): "ip.length", ("ip", "dscp"): "ip.dscp",
    ("ip", "ecn"): "ip.ecn", ("ip6", "saddr"): "ip6.src",
    ("ip6", "daddr"): "ip6.dst", ("ip6", "hoplimit"): "ip.ttl",
    ("ip6", "dscp"): "ip.dscp", ("ip6", "ecn"): "ip.ecn",
    ("tcp", "sport"): "th.sport", ("tcp", "dport"): "th.dport", ("tcp", "flags"): "tcp.flags",
    ("tcp", "window"): "tcp.window", ("udp", "sport"): "th.sport", ("udp", "dport"): "th.dport",
    ("sctp", "sport"): "th.sport", ("sctp", "dport"): "th.dport", ("th", "sport"): "th.sport",
    ("th", "dport"): "th.dport", ("icmp", "type"): "icmp.type", ("icmp", "code"): "icmp.code",
    ("icmpv6", "type"): "icmp6.type", ("icmpv6", "code"): "icmp6.code", ("arp", "operation"): "arp.op",
    ("arp", "saddr ip"): "arp.spa", ("arp", "daddr ip"): "arp.tpa", ("arp", "saddr ether"): "arp.sha",
    ("arp", "daddr ether"): "arp.tha", ("meta", "protocol"): "eth.type", ("meta", "nfproto"): "eth.type",
    ("meta", "l4proto"): "ip.proto", ("meta", "mark"): "meta.mark",
}  # fmt: skip
# Lengths in words of four bytes: the field, and what it does not count.
WORDS_OF_FOUR: dict[tuple[str, str], tuple[str, int]] = {
    ("tcp", "doff"): ("tcp.header", 0),
    ("ip", "hdrlength"): ("ip4.options", 20),
}
NIBBLE = IntervalSet.of((0, 15))
# What nft itself asks for before it reads a header of these.
IMPLIED: dict[str, dict[str, IntervalSet]] = {
    "ip": {"eth.type": fields.IP4},
    "ip6": {"eth.type": fields.IP6},
    "tcp": {"ip.proto": IntervalSet.of(6)},
    "udp": {"ip.proto": IntervalSet.of(17)},
    "sctp": {"ip.proto": IntervalSet.of(132)},
    "th": {"ip.proto": fields.WITH_PORTS},
}
_ICMP = {"echo-reply": 0, "destination-unreachable": 3, "redirect": 5, "echo-request": 8, "time-exceeded": 11,
         "parameter-problem": 12, "router-advertisement": 9, "router-solicitation": 10, "source-quench": 4,
         "timestamp-request": 13, "timestamp-reply": 14, "info-request": 15, "info-reply": 16}  # fmt: skip
_ICMP6 = {"destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "parameter-problem": 4,
          "echo-request": 128, "echo-reply": 129, "mld-listener-query": 130, "mld-listener-report": 131,
          "mld-listener-done": 132, "mld-listener-reduction": 132, "nd-router-solicit": 133,
          "nd-router-advert": 134, "nd-neighbor-solicit": 135, "nd-neighbor-advert": 136, "nd-redirect": 137,
          "router-renumbering": 138, "mld2-listener-report": 143}  # fmt: skip
WORDS: dict[str, Mapping[str, int]] = {
    "eth.type": {"ip": 0x0800, "ipv4": 0x0800, "ip6": 0x86DD, "ipv6": 0x86DD, "arp": 0x0806, "8021q": 0x8100,
                 "8021ad": 0x88A8, "vlan": 0x8100},
    "ip.proto": {**PROTOCOLS, "ipv6-icmp": 58, "icmpv6": 58},
    "icmp.type": _ICMP,
    "icmp6.type": _ICMP6,
    "icmp.code": {**codes.NAMES["icmp.code"], "frag-needed": 4, "prot-unreachable": 2, "net-prohibited": 9,
                  "host-prohibited": 10},
    "icmp6.code": {**codes.NAMES["icmp6.code"], "addr-unreachable": 3},
    "ip.dscp": codes.DSCP,
    "ip.ecn": codes.NAMES["ip.ecn"],
    "tcp.flags": {**codes.TCP_FLAGS, "ecn": 64},
    "arp.op": codes.NAMES["arp.op"],
}  # fmt: skip
SERVICES = {
    "ssh": 22,
    "domain": 53,
    "http": 80,
    "https": 443,
    "smtp": 25,
    "ntp": 123,
    "snmp": 161,
    "telnet": 23,
}


@dataclass(frozen=True)
class Looked:
    """What an expression looks at: a field, the part of it under `mask` (None for all), and what must hold
    for it to be there. `less`: the expression counts words of four bytes, and that many bytes more than the
    field; None for one that counts as the field does."""

    field: str
    mask: int | None
    implied: Mapping[str, IntervalSet]
    less: int | None = None


def looked_at(left: Any) -> Looked:
    """The field of an expression. NotSayableError for any other."""
    match left:
        case {"payload": {"protocol": protocol, "field": name}}:
            field = FIELDS.get((protocol, name))
            if field is not None:
                implied = dict(IMPLIED.get(protocol, {}))
                for guard, values in fields.lookup(field).guards:
                    implied.setdefault(guard, values)
                return Looked(field, None, implied)
            if (protocol, name) in WORDS_OF_FOUR:
                field, less = WORDS_OF_FOUR[protocol, name]
                return Looked(field, None, dict(fields.lookup(field).guards), less)
            if (protocol, name) == ("ip", "frag-off"):
                return Looked("ip.frag-off", None, IMPLIED["ip"])
            raise NotSayableError(f"{protocol} {name}", "no field here says this")
        case {"meta": {"key": key}}:
            field = FIELDS.get(("meta", key))
            if field is not None:
                return Looked(field, None, {"eth.type": fields.IP} if key == "l4proto" else {})
            raise NotSayableError(f"meta {key}", "no field here says this")
        case {"&": [inner, mask]}:
            found = looked_at(inner)
            return Looked(found.field, number(found.field, mask), found.implied)
        case {"ct": {"key": key}}:
            why = "a policy at an interface judges each packet by itself: it knows no flows"
            raise NotSayableError(f"ct {key}", why)
        case {"concat": _}:
            raise NotSayableError("a concatenation", "conditions over several fields at once are many rules")
    kind = next(iter(left)) if isinstance(left, dict) and left else str(left)
    raise NotSayableError(kind, "no field here says this")


def number(field: str, value: Any) -> int:
    """One value as a number."""
    if isinstance(value, bool) or value is None:
        raise BadValueError(str(value), "is not a value")
    if isinstance(value, int):
        return value
    if isinstance(value, list) or (isinstance(value, dict) and "|" in value):
        parts = value if isinstance(value, list) else value["|"]
        bits = 0
        for part in parts:
            bits |= number(field, part)
        return bits
    if not isinstance(value, str):
        raise BadValueError(str(value), "is not a value")
    words = WORDS.get(field, {})
    if value in words:
        return words[value]
    if field.startswith("th.") and value in SERVICES:
        return SERVICES[value]
    style = fields.lookup(field).style if field in fields.BY_NAME else "int"
    try:
        if style in ("ip4", "ip6"):
            return int(ipaddress.ip_address(value))
        return codes.read_mac(value) if style == "mac" else int(value, 0)
    except ValueError:
        raise BadValueError(value, "is not a value of this field") from None


def values(field: str, right: Any) -> IntervalSet:
    """What stands on the right, as a set. NotSayableError for names of sets: look those up first."""
    match right:
        case {"set": items}:
            listed = items if isinstance(items, list) else [items]
            return IntervalSet.from_ranges(r for item in listed for r in values(field, item))
        case {"elem": inner}:
            if "timeout" in inner or "expires" in inner:
                raise NotSayableError("timeout", "entries that end by themselves are those of dynamic sets")
            return values(field, inner["val"])
        case {"range": [low, high]}:
            first, last = number(field, low), number(field, high)
            if first > last:
                raise BadValueError(f"{low}-{high}", "runs backwards")
            return IntervalSet.of((first, last))
        case {"prefix": {"addr": address, "len": length}}:
            width = 32 if field.startswith(("ip4", "arp")) else fields.lookup(field).width_bits
            low = number(field, address)
            return IntervalSet.of((low, low | (1 << (width - length)) - 1))
    return IntervalSet.of(number(field, right))


def compared(looked: Looked, op: str, right: Any) -> IntervalSet:
    """The values of the field for which a comparison holds."""
    field = looked.field
    if looked.less is not None:
        words = ordered(op, right, field, NIBBLE)
        return IntervalSet.of(
            *(
                4 * n - looked.less
                for low, high in words
                for n in range(low, high + 1)
                if 4 * n >= looked.less
            )
        )
    if field == "tcp.flags":
        return _flags(looked, op, right)
    if looked.mask is not None:
        raise NotSayableError(
            f"{field} & {looked.mask:#x}", "a part of a field is no field, but for TCP flags"
        )
    return ordered(op, right, field)


def ordered(op: str, right: Any, field: str, whole: IntervalSet | None = None) -> IntervalSet:
    """The values of a field, or of `whole`, for which a comparison holds."""
    whole = full(field) if whole is None else whole
    if op in ("==", "in", "!="):
        found = values(field, right)
        return whole - found if op == "!=" else found & whole
    n, top = number(field, right), whole.ranges[0][1]
    ranges = {"<": (0, n - 1), "<=": (0, n), ">": (n + 1, top), ">=": (n, top)}
    if op not in ranges:
        raise NotSayableError(op, "there is no such comparison")
    low, high = ranges[op]
    return IntervalSet.of((low, high)) if low <= high else IntervalSet()


def _flags(looked: Looked, op: str, right: Any) -> IntervalSet:
    """Comparisons of TCP flags: with a mask, of all of them, or `in`: any of some."""
    mask = 0xFF if looked.mask is None else looked.mask
    if isinstance(right, dict) and "set" in right:
        wanted = {number("tcp.flags", item) for item in right["set"]}
        found = IntervalSet.of(*(v for v in range(256) if v & mask in wanted))
    else:
        bits = number("tcp.flags", right)
        if op == "in":
            return IntervalSet.of(*(v for v in range(256) if v & bits))
        if op not in ("==", "!="):
            raise NotSayableError(f"tcp flags {op}", "there is no such comparison")
        found = IntervalSet.of(*(v for v in range(256) if v & mask == bits))
    return found.complement(8) if op == "!=" else found
