"""Frames and socket calls at the edges of what a policy speaks of, and at the edges of what a frame may be.

`Maker` draws values from the interval ends of the policy's own sets, one off on either side, and frames from
every shape the decoder tells apart: tags, options, fragments, extension headers, wrong lengths, truncation at
any byte, padding. All chance comes from one `random.Random`, so a seed is a list of packets.

Frames are put together here byte by byte from the RFCs and not with the compiler's own packet builder: what
is judged must not also be the judge.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lockgate.compiler.codegen.simulate import Frame
from lockgate.compiler.policy.model import Chain, Live, Minus, Network, Not, Prefixes, Rule, Union
from lockgate.stdlib_bpf.decode.sock_addr import AF_INET, AF_INET6, SocketCall
from lockgate.stdlib_bpf.sets import IntervalSet

MACS = bytes.fromhex("020000000002020000000001")
TPIDS = (0x8100, 0x88A8)
IP4, IP6, ARP = 0x0800, 0x86DD, 0x0806
ICMP, TCP, UDP, ICMP6, SCTP = 1, 6, 17, 58, 132
HOP, ROUTING, FRAGMENT, AH, DESTINATION, MOBILITY = 0, 43, 44, 51, 60, 135
ESP, NO_NEXT, GRE, EXPERIMENT = 50, 59, 47, 253
PROTOCOLS = (TCP, TCP, UDP, UDP, SCTP, ICMP, ICMP6, GRE, ESP, NO_NEXT, EXPERIMENT)
MAPPED = 0xFFFF << 32
MS = 1_000_000
COMMON = {16: (0, 1, 22, 80, 1023, 65535), 8: (0, 2, 3, 8, 18, 128, 135, 255)}


@dataclass
class Extension:
    """One IPv6 extension header. `units`: its length field; `place`: fragment offset and flag, as sent."""

    kind: int
    units: int = 0
    place: int = 0
    filling: bytes = b""

    def bytes(self, following: int) -> bytes:
        """The header, naming the one behind it."""
        if self.kind == FRAGMENT:
            return struct.pack("!BBHI", following, self.units, self.place, 7)
        length = (self.units + 2) * 4 if self.kind == AH else (self.units + 1) * 8
        return (bytes((following, self.units)) + self.filling).ljust(length, b"\1")


@dataclass
class Shape:
    """A frame before it is bytes. Lengths are right unless `wrong_*` says how far they are off; `cut`: bytes
    kept of the frame; `padding`: bytes behind the packet; `version` and `ihl` None: as they should be."""

    eth_type: int = IP4
    tags: tuple[int, ...] = ()
    src: int = 0
    dst: int = 0
    protocol: int = TCP
    sport: int = 40000
    dport: int = 80
    flags: int = 2
    icmp_type: int = 8
    data_offset: int = 5
    tcp_options: int = 0
    payload: bytes = b""
    options: int = 0  # bytes of IPv4 options
    fragment: int = 0  # IPv4 flags and offset, as on the wire
    extensions: list[Extension] = field(default_factory=list)
    version: int | None = None
    ihl: int | None = None
    wrong_length: int = 0
    padding: int = 0
    cut: int | None = None

    @property
    def later_fragment(self) -> bool:
        """Whether the packet lacks the transport header."""
        if self.eth_type == IP4:
            return bool(self.fragment & 0x1FFF)
        return any(e.kind == FRAGMENT and e.place & 0xFFF8 for e in self.extensions)

    def transport(self) -> bytes:
        """Transport header and payload."""
        if self.protocol == TCP:
            head = struct.pack(
                "!HHIIBB",
                self.sport,
                self.dport,
                self.sport << 15,
                -self.dport & 0xFFFFFFFF,
                self.data_offset << 4,
                self.flags,
            )
            head += struct.pack("!HHH", 9, 0, 0) + b"\1" * self.tcp_options
        elif self.protocol == UDP:
            head = struct.pack("!HHHH", self.sport, self.dport, 8 + len(self.payload), 0)
        elif self.protocol == SCTP:
            head = struct.pack("!HHII", self.sport, self.dport, 8, 0)
        elif self.protocol in (ICMP, ICMP6):
            head = struct.pack("!BBHI", self.icmp_type, 0, 0, 0)
        else:
            head = b""
        return head + self.payload

    def network(self) -> bytes:
        """The packet from its network header on."""
        body = self.payload if self.later_fragment else self.transport()
        if self.eth_type == IP4:
            length = 20 + self.options + len(body) + self.wrong_length
            version = 4 if self.version is None else self.version
            ihl = 5 + self.options // 4 if self.ihl is None else self.ihl
            head = struct.pack(
                "!BBHHHBBH", version << 4 | ihl, 0, length & 0xFFFF, 1, self.fragment, 64, self.protocol, 0
            )
            return head + self.src.to_bytes(4) + self.dst.to_bytes(4) + b"\1" * self.options + body
        if self.eth_type == IP6:
            following = self.protocol
            for extension in reversed(self.extensions):
                body, following = extension.bytes(following) + body, extension.kind
            length = (len(body) + self.wrong_length) & 0xFFFF
            version = 6 if self.version is None else self.version
            head = struct.pack("!IHBB", version << 28, length, following, 64)
            return head + self.src.to_bytes(16) + self.dst.to_bytes(16) + body
        return self.payload

    def frame(self) -> bytes:
        """The frame's bytes."""
        out = MACS + b"".join(struct.pack("!HH", tpid, 100 + i) for i, tpid in enumerate(self.tags))
        out += struct.pack("!H", self.eth_type) + self.network() + b"\xaa" * self.padding
        return out if self.cut is None else out[: self.cut]


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
            return Frame(data)
        linear = rng.choice((None, None, 0, 14, 18, 33, 40, 54, 60))
        linear = None if linear is None else min(linear, len(data))
        return Frame(data, rng.random() < 0.3, linear, segments=rng.choice((1, 1, 1, 2, 3, 44)))

    def shape(self) -> Shape:
        """One well-formed frame. Three in four aim at one rule."""
        rng = self.rng
        index = rng.randrange(len(self.chain.rules)) if self.chain.rules and rng.random() < 0.75 else None
        near = self.all if index is None else self.each[index]
        shape = Shape(eth_type=rng.choice((IP4, IP4, IP4, IP6, IP6, IP6, ARP, 0x1234)))
        if index is not None:
            self._aim(shape, self.chain.rules[index])
        else:
            shape.protocol = rng.choice(PROTOCOLS)
        shape.tags = tuple(rng.choice(TPIDS) for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 2, 2, 3))))
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
        else:
            shape.payload = bytes(28)
        if shape.later_fragment:
            # What would be ports, if anybody read them, fits the rule.
            shape.payload = struct.pack("!HH", shape.sport, shape.dport) + bytes(16)
        return shape

    def _aim(self, shape: Shape, rule: Rule) -> None:
        """Make protocol and family such that the rule may hold."""
        rng = self.rng
        traffic = rng.choice(rule.traffic)
        if traffic.eth_types is not None:
            shape.eth_type = rng.choice(traffic.eth_types.ranges)[0]
        else:
            spoken = [p for n in (rule.src, rule.dst) for p in prefixes_in(n, self.live)]
            families = [
                f for f, here in ((IP4, any(p.v4 for p in spoken)), (IP6, any(p.v6 for p in spoken))) if here
            ]
            shape.eth_type = rng.choice(families or [IP4, IP6])
        if traffic.protocols is not None:
            shape.protocol = rng.choice(traffic.protocols.ranges)[rng.randrange(2)]
        else:
            shape.protocol = rng.choice(PROTOCOLS)

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
        return SocketCall(operation, family, protocol, address, rng.choice(near.ports))
