"""Frames and socket calls at the edges of what a policy speaks of, and at the edges of what a frame may be.

`Maker` draws values from the interval ends of the policy's own sets, one off on either side, and frames from
every shape the decoder tells apart: tags, options, fragments, extension headers, wrong lengths, truncation at
any byte, padding. All chance comes from one `random.Random`, so a seed is a list of packets.

What a frame is made of is in `shapes`, how it gets a wanted value in `shaping`.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from lockgate.compiler.policy import alternatives
from lockgate.compiler.policy.model import Chain, Live, Minus, Network, Not, Prefixes, Rule, Union
from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.decode.frame import Frame
from lockgate.stdlib_bpf.decode.sock_addr import AF_INET, AF_INET6, SocketCall
from lockgate.stdlib_bpf.sets import IntervalSet

from . import shaping
from .shapes import (
    AH,
    ARP,
    DESTINATION,
    ESP,
    EXPERIMENT,
    FRAGMENT,
    GRE,
    HOP,
    ICMP,
    ICMP6,
    IP4,
    IP6,
    MOBILITY,
    NO_NEXT,
    ROUTING,
    SCTP,
    TCP,
    TPIDS,
    UDP,
    Extension,
    Shape,
    arp,
)

PROTOCOLS = (TCP, TCP, UDP, UDP, SCTP, ICMP, ICMP6, GRE, ESP, NO_NEXT, EXPERIMENT)
MAPPED = 0xFFFF << 32
MS = 1_000_000
TCIS = (0, 1, 100, 0x2007, 0xE064, 0xFFFF, 0x1FFE)
UIDS = (0, 1000, 65534)
COMMON = {16: (0, 1, 22, 80, 1023, 65535), 8: (0, 2, 3, 8, 18, 128, 135, 255)}


@dataclass(frozen=True)
class Edges:
    """Values at which a policy's answer may change, by kind, each with its neighbours."""

    ports: tuple[int, ...]
    v4: tuple[int, ...]
    v6: tuple[int, ...]
    bytes: tuple[int, ...]


def edges(values: IntervalSet, width_bits: int) -> set[int]:
    """Both ends of every range and the values beside them."""
    top = (1 << width_bits) - 1
    ends = {end + step for low, high in values for end in (low, high) for step in (-1, 0, 1)}
    return {min(max(value, 0), top) for value in ends}


def prefixes_in(network: Network | None, live: Mapping[str, Prefixes]) -> list[Prefixes]:
    """Every known set of addresses in an expression."""
    match network:
        case Prefixes():
            return [network]
        case Live(name, _):
            return [live.get(name, Prefixes())]
        case Union(left, right) | Minus(left, right):
            return prefixes_in(left, live) + prefixes_in(right, live)
        case Not(operand):
            return prefixes_in(operand, live)
    return []


def edges_of(rules: Sequence[Rule], live: Mapping[str, Prefixes]) -> Edges:
    """The edges of some rules, with values of common interest."""
    ports, v4, v6, small = set(COMMON[16]), {0, 0x0A000001, 0xFFFFFFFF}, {1, 0x20010DB8 << 96}, set(COMMON[8])
    for rule in rules:
        for values in (rule.sports, rule.dports, *(t.ports for t in rule.traffic)):
            ports |= edges(values or IntervalSet(), 16)
        for prefixes in (*prefixes_in(rule.src, live), *prefixes_in(rule.dst, live)):
            v4 |= edges(prefixes.v4, 32)
            v6 |= edges(prefixes.v6, 128)
        for traffic in rule.traffic:
            small |= edges(traffic.icmp_types or IntervalSet(), 8)
        if rule.flags is not None:
            small |= {
                rule.flags.value,
                rule.flags.value | ~(rule.flags.mask or 0) & 0xFF,
                rule.flags.mask or 0,
            }
    return Edges(tuple(sorted(ports)), tuple(sorted(v4)), tuple(sorted(v6)), tuple(sorted(small)))


Wanted = Mapping[str, IntervalSet]
# What a frame can be given: everything but what the shape itself decides.
ASKABLE = sorted(set(shaping.SETTERS) | set(shaping.HEADERS) | set(shaping.ARP_AT))


class Maker:
    """Packets for one chain. `live`: what its dynamic sets hold."""

    def __init__(self, chain: Chain, live: Mapping[str, Prefixes], rng: random.Random) -> None:
        self.chain, self.live, self.rng = chain, live, rng
        self.all = edges_of(chain.rules, live)
        self.each = [edges_of([rule], live) for rule in chain.rules]

    def packets(self, count: int) -> list[Frame | SocketCall]:
        """Packets, most of them aimed at some rule."""
        make: Callable[[], Frame | SocketCall] = self.call if self.chain.hook == "connect" else self.frame
        made, now_ms = [], 0
        for _ in range(count):
            now_ms += self.rng.choice((0, 0, 0, 1, 20, 400, 1_000, 30_000))
            made.append(replace(make(), time_ns=now_ms * MS))
        return made

    # ---- frames ----

    def frame(self) -> Frame:
        """One frame as the chain's hook may see it."""
        rng = self.rng
        if rng.random() < 0.02:
            return Frame(rng.randbytes(rng.choice((0, 1, 13, 14, 33, 60))))
        shape = self.shape()
        if rng.random() < 0.3:
            self._spoil(shape)
        data = shape.frame()
        if self.chain.hook != "tc":
            first = rng.choice((None, None, None, 14, 18, 34, 42, 54, 60, 74))
            first = first if first is not None and first < len(data) else None
            return Frame(data, iif=rng.choice((shape.iif, 0, 0, 0)), first_buffer=first)
        linear = rng.choice((None, None, 0, 14, 18, 33, 40, 54, 60))
        tci = None
        if shape.tags and len(data) >= 18 and rng.random() < 0.5:  # as a device does
            tci, data = int.from_bytes(data[14:16]), data[:12] + data[16:]
        elif rng.random() < 0.15:
            tci = rng.choice(TCIS)
        linear = None if linear is None else min(linear, len(data))
        iif = rng.choice((shape.iif, shape.iif, 0, 1, 2, None))
        segments = rng.choice((1, 1, 1, 2, 3, 44))
        return Frame(data, tci, linear, shape.mark, segments=segments, iif=iif)

    def shape(self) -> Shape:
        """One well-formed frame. Three in four aim at one rule."""
        rng = self.rng
        index = rng.randrange(len(self.chain.rules)) if self.chain.rules and rng.random() < 0.75 else None
        near = self.all if index is None else self.each[index]
        shape = Shape(eth_type=rng.choice((IP4, IP4, IP4, IP6, IP6, IP6, ARP, 0x1234)))
        shape.protocol = rng.choice(PROTOCOLS)
        wanted: Wanted = {}
        if index is not None:
            wanted = self._aim(shape, self.chain.rules[index])
        tags = rng.choice((0, 0, 0, 0, 1, 1, 2, 2, 3))
        shape.tags = tuple((rng.choice(TPIDS), rng.choice(TCIS)) for _ in range(tags))
        shape.sport, shape.dport = rng.choice(near.ports), rng.choice(near.ports)
        shape.flags, shape.icmp_type = rng.choice(near.bytes), rng.choice(near.bytes)
        shape.payload = bytes(rng.choice((0, 0, 4, 8, 30)))
        if shape.protocol == TCP and rng.random() < 0.2:
            shape.tcp_options = rng.choice((4, 12, 40))
            shape.data_offset = 5 + shape.tcp_options // 4
        if shape.eth_type == IP4:
            shape.src, shape.dst = rng.choice(near.v4), rng.choice(near.v4)
            shape.options = 4 * rng.choice((0, 0, 0, 0, 1, 2, 10))
            if rng.random() < 0.2:
                shape.fragment = rng.choice((0x4000, 0x2000, 0x2000, 1, 2, 0x2005, 0x1FFF, 0x8000))
        elif shape.eth_type == IP6:
            shape.src, shape.dst = rng.choice(near.v6), rng.choice(near.v6)
            shape.extensions = self._extensions()
        elif shape.eth_type == ARP:
            shape.arp = arp(rng.choice((1, 2)))
            if rng.random() < 0.2:  # another hardware or protocol, another length of addresses
                at = rng.randrange(6)
                shape.arp = shape.arp[:at] + bytes((rng.randrange(256),)) + shape.arp[at + 1 :]
            if rng.random() < 0.1:
                shape.arp = shape.arp[: rng.randrange(29)]
        else:
            shape.payload = bytes(28)
        self._set(shape, wanted)
        if shape.later_fragment:
            # What would be ports, if anybody read them, fits the rule.
            shape.payload = struct.pack("!HH", shape.sport, shape.dport) + shape.payload[4:].ljust(16, b"\0")
        return shape

    def _set(self, shape: Shape, wanted: Wanted) -> None:
        """Values at the edges of what a rule asks, and now and then values that nobody asks for."""
        rng = self.rng
        some = rng.sample(ASKABLE, 3) if rng.random() < 0.5 else []
        values = {name: rng.randrange(1 << fields.lookup(name).width_bits) for name in some}
        for name, asked in wanted.items():
            width = fields.lookup(name).width_bits
            within = [rng.choice(asked.ranges)[rng.randrange(2)]] if asked else []
            if rng.random() < 0.85:
                values[name] = rng.choice([*within, *within, *sorted(edges(asked, width))] or [0])
        for name in sorted(values, key=fields.sort_key):
            shaping.apply(shape, name, values[name])

    def _aim(self, shape: Shape, rule: Rule) -> Wanted:
        """Make protocol and family such that the rule may hold; what else one of its alternatives asks."""
        rng = self.rng
        traffic = rng.choice(rule.traffic)
        wanted = rng.choice(alternatives.conjunctions(rule.where))
        guarded = fields.guarded({"ip.proto": traffic.protocols} if traffic.protocols else {}, wanted) or {}
        eth_types = traffic.eth_types or guarded.get("eth.type")
        protocols = guarded.get("ip.proto")
        if traffic.eth_types is not None and "eth.type" in guarded:
            eth_types = (traffic.eth_types & guarded["eth.type"]) or traffic.eth_types
        if eth_types is not None and eth_types != fields.IP:
            shape.eth_type = rng.choice(eth_types.ranges)[0]
        else:
            spoken = [p for n in (rule.src, rule.dst) for p in prefixes_in(n, self.live)]
            families = [
                f for f, here in ((IP4, any(p.v4 for p in spoken)), (IP6, any(p.v6 for p in spoken))) if here
            ]
            shape.eth_type = rng.choice(families or [IP4, IP6])
        if protocols:
            shape.protocol = rng.choice(protocols.ranges)[rng.randrange(2)]
        return {name: values for name, values in wanted.items() if name not in ("eth.type", "ip.proto")}

    def _extensions(self) -> list[Extension]:
        rng = self.rng
        out = []
        for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 2, 3, 5, 6, 7))):
            kind = rng.choice((HOP, ROUTING, DESTINATION, MOBILITY, FRAGMENT, AH, AH))
            if kind == FRAGMENT:
                out.append(Extension(kind, rng.choice((0, 9)), rng.choice((0, 0, 1, 6, 8, 9, 0xFFF8))))
            else:
                out.append(Extension(kind, rng.choice((1, 2, 4) if kind == AH else (0, 1, 3))))
        return out

    def _spoil(self, shape: Shape) -> None:
        """One thing that is wrong, or that only looks wrong."""
        rng = self.rng
        match rng.randrange(9):
            case 0 | 1 | 2:
                shape.cut = rng.randrange(len(shape.frame()) + 1)
            case 3:
                shape.padding = rng.randrange(1, 40)
            case 4:
                shape.wrong_length = rng.choice((-40, -8, -1, 1, 8))
            case 5:
                shape.version = rng.randrange(16)
            case 6:
                shape.ihl = rng.randrange(16)
            case 7:
                shape.data_offset = rng.randrange(16)
            case 8:
                side = rng.choice(("src", "dst"))
                if shape.eth_type == IP6:
                    setattr(shape, side, MAPPED | rng.choice(self.all.v4))
                else:
                    shape.padding, shape.wrong_length = 8, -8

    # ---- socket calls ----

    def call(self) -> SocketCall:
        """One socket call."""
        rng = self.rng
        rule = rng.choice(self.chain.rules) if self.chain.rules and rng.random() < 0.75 else None
        near = self.all if rule is None else self.each[self.chain.rules.index(rule)]
        protocol = rng.choice((TCP, UDP, TCP, UDP, ICMP, ICMP6, SCTP, EXPERIMENT))
        if rule is not None and (protocols := rng.choice(rule.traffic).protocols) is not None:
            protocol = rng.choice(protocols.ranges)[rng.randrange(2)]
        family, address = rng.choice(
            (
                (AF_INET, rng.choice(near.v4)),
                (AF_INET6, rng.choice(near.v6)),
                (AF_INET6, MAPPED | rng.choice(near.v4)),
            )
        )
        operation = "sendmsg" if protocol == UDP and rng.random() < 0.5 else "connect"
        port, uid, cgroup = rng.choice(near.ports), rng.choice(UIDS), rng.randint(0, len(self.chain.cgroups))
        return SocketCall(operation, family, protocol, address, port, uid, cgroup)
