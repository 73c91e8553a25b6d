"""Packets to count a policy's cost with: some that each rule decides, and some that are about nothing in it.

Drawn from a seed. None is believed: each is decoded and walked through the plan, which says who decides it
and which nodes it meets. Frames have one length, so that they can be written over each other.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lockgate.compiler import frames
from lockgate.compiler.codegen.simulate import Packet
from lockgate.compiler.decision import DEFAULT
from lockgate.compiler.driver import Session
from lockgate.compiler.match.ir import Match
from lockgate.compiler.plan.run import Runner
from lockgate.compiler.policy.model import Chain, Prefixes
from lockgate.engines import seen_by
from lockgate.runtime.coldrun import FRAME_BYTES
from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.decode.frame import Frame
from lockgate.stdlib_bpf.sets import IntervalSet

PACKETS = 8_192  # of a mix
BACKGROUND = 0.5  # share of packets that no rule was thought of for
TRIES = 12  # draws for one packet of a rule
MAX_RULES = 256  # that get packets of their own; of more, every n-th
FAMILY4 = 0.6
UNICAST = {4: (1 << 24, 223 << 24), 6: (0x2000 << 112, 0x4000 << 112)}
PROTOCOLS = ((fields.IPPROTO_TCP, 0.7), (fields.IPPROTO_UDP, 0.27))
SERVICES = (443, 80, 53, 123, 22, 25)
TCP_FLAGS = (16, 16, 16, 24, 2, 18, 17)  # ACK, PSH+ACK, SYN, SYN+ACK, FIN+ACK
NOT_CHOSEN = ("meta.mark", "meta.iif", "meta.length", "ip.length", "sock.uid", "sock.cgroup")


@dataclass(frozen=True)
class Sample:
    """A packet, the rule that decides it (or DEFAULT), and the nodes of the plan that it meets."""

    packet: Packet
    rule: int
    way: tuple[int, ...]


class Sampler:
    """Draws packets of one chain. `live`: what dynamic sets hold."""

    def __init__(self, session: Session, chain: Chain, live: Mapping[str, Prefixes], seed: int = 1) -> None:
        self._chain, self._live = chain, live
        self._runner = Runner(session.plan(chain))
        self._draw = random.Random(f"{chain.name} {seed}")
        self._matches: defaultdict[int, list[Match]] = defaultdict(list)
        program = session.match(chain)
        for match in program.matches:
            if not program.rules[match.rule].passing:
                self._matches[match.rule].append(match)

    def mix(self, count: int = PACKETS, hits: Mapping[int, int] | None = None) -> list[Sample]:
        """Packets in mixed order. `hits`: how many of a profile each rule decided, DEFAULT among them;
        without, half of the packets are about nothing, and rules share the others."""
        shares = self._even() if hits is None else hits
        total = sum(shares.values()) or 1
        found = [one for rule, share in shares.items() for one in self.of(rule, round(count * share / total))]
        while len(found) < count and (more := self.of(DEFAULT, count - len(found))):
            found += more
        self._draw.shuffle(found)
        return found[:count]

    def of(self, rule: int, count: int) -> list[Sample]:
        """At most so many packets that a rule decides; of DEFAULT, whatever background traffic meets. Fewer,
        or none, where they are hard to find."""
        if rule == DEFAULT:
            return [one for _ in range(count) if (one := self._judged(self._background())) is not None]
        found: list[Sample] = []
        for tries in range(TRIES * count):
            if len(found) == count or (tries >= 4 * TRIES and not found):
                break
            if (asked := self._asked(rule)) is None:
                break
            one = self._judged(asked)
            if one is not None and one.rule == rule:
                found.append(one)
        return found

    def _even(self) -> dict[int, int]:
        rules = sorted(self._matches)[:: max(1, -(-len(self._matches) // MAX_RULES))]
        background = len(rules) * BACKGROUND / (1 - BACKGROUND) if rules else 1
        return {DEFAULT: round(background) or 1} | dict.fromkeys(rules, 1)

    def _judged(self, asked: dict[str, int]) -> Sample | None:
        packet: Packet
        if self._chain.hook == "connect":
            packet = frames.call(asked)
        else:
            data = frames.build(asked).data
            if len(data) > FRAME_BYTES:
                return None
            packet = Frame(data.ljust(FRAME_BYTES, b"\0"))
        met: list[int] = []
        decision = self._runner.run(seen_by(self._chain, [packet])[0], self._live, met=met)
        return Sample(packet, decision.rule, tuple(met)) if met else None

    def _background(self) -> dict[str, int]:
        """A packet of anybody to anybody."""
        draw = self._draw
        family = 4 if draw.random() < FAMILY4 else 6
        point, protocol = draw.random(), fields.IPPROTO_ICMP if family == 4 else fields.IPPROTO_ICMPV6
        for number, share in PROTOCOLS:
            point -= share
            if point < 0:
                protocol = number
                break
        ports = [draw.choice(SERVICES), draw.randrange(1024, 1 << 16)]
        draw.shuffle(ports)
        return {
            "eth.type": fields.ETH_P_IP if family == 4 else fields.ETH_P_IPV6,
            "ip.proto": protocol,
            f"ip{family}.src": draw.randrange(*UNICAST[family]),
            f"ip{family}.dst": draw.randrange(*UNICAST[family]),
            "th.sport": ports[0],
            "th.dport": ports[1],
            "tcp.flags": draw.choice(TCP_FLAGS),
        }

    def _asked(self, rule: int) -> dict[str, int] | None:
        """What a packet of a rule needs, where its tests say nothing as in the background; None where no
        packet can be made to order."""
        match = self._draw.choice(self._matches[rule])
        if any(name in NOT_CHOSEN for name, _ in match.tests):
            return None
        asked = self._background()
        for name, values in match.tests:
            split = fields.split_live(name)
            if split is None:
                if name not in asked or asked[name] not in values:
                    asked[name] = self._value(values & fields.lookup(name).full)
            elif 1 in values:
                contents = self._live.get(split[1], Prefixes())
                members = contents.v6 if split[0].startswith("ip6.") else contents.v4
                if not members:
                    return None
                asked[split[0]] = self._value(members)
        family = {fields.ETH_P_IP: 4, fields.ETH_P_IPV6: 6}.get(asked["eth.type"])
        if family is not None:
            for end in ("src", "dst"):
                asked.setdefault(f"ip{family}.{end}", self._draw.randrange(*UNICAST[family]))
        return asked

    def _value(self, values: IntervalSet) -> int:
        return self._draw.randint(*self._draw.choice(values.ranges))


def filled(session: Session, chain: Chain, entries: int, seed: int = 1) -> dict[str, Prefixes]:
    """Dynamic sets of a chain with so many single addresses of each family, or as many as they may hold."""
    draw, found = random.Random(f"live {seed}"), {}
    for name, most in session.match(chain).live:
        v4, v6 = (_addresses(draw, family, min(entries, most)) for family in UNICAST)
        found[name] = Prefixes(v4, v6)
    return found


def _addresses(draw: random.Random, family: int, count: int) -> IntervalSet:
    """No two next to each other."""
    low, high = UNICAST[family]
    step = max(2, (high - low) >> 31)
    return IntervalSet.of(*(low + step * place for place in draw.sample(range((high - low) // step), count)))


def ways(samples: Sequence[Sample]) -> list[tuple[int, ...]]:
    """The nodes that each packet meets."""
    return [one.way for one in samples]


def by_rule(samples: Sequence[Sample]) -> Iterator[tuple[int, list[Sample]]]:
    """Who decides, and the packets that are decided so; ascending, DEFAULT first."""
    for rule in sorted({one.rule for one in samples}):
        yield rule, [one for one in samples if one.rule == rule]
