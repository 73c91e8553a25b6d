"""Packets, as fields, at the boundaries of a match program: where two programs differ, if they do.

All that a decoder promises holds for them (`stdlib_bpf.decode`), so every one may exist, though not each is a
frame that somebody can write down. Everything is drawn from a fixed seed: the same program, the same packets.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.decode.frame import LATER, WHOLE, Facts
from lockgate.stdlib_bpf.fields import Field
from lockgate.stdlib_bpf.sets import IntervalSet

from .. import frames
from ..policy.model import Prefixes
from .boxes import Box
from .ir import Match, MatchProgram

L4_PROTO = fields.L4_PROTO.name
ETH_TYPES = (fields.ETH_P_IP, fields.ETH_P_IPV6, fields.ETH_P_ARP, 0x88B5)
PROTOCOLS = (6, 17, 132, 1, 58, 47)
USUAL = {
    "eth.src": frames.SENDER,
    "eth.dst": frames.RECEIVER,
    "ip4.src": frames.DEFAULT_SRC[4],
    "ip4.dst": frames.DEFAULT_DST[4],
    "ip6.src": frames.DEFAULT_SRC[6],
    "ip6.dst": frames.DEFAULT_DST[6],
    "ip.ttl": frames.DEFAULT_TTL,
    "th.sport": frames.DEFAULT_SPORT,
    "th.dport": frames.DEFAULT_DPORT,
    "tcp.flags": frames.SYN,
    "tcp.window": frames.DEFAULT_WINDOW,
    "meta.length": 60,
}
MAX_SHAPES = 8  # packets tried for a box
Live = Mapping[str, Prefixes]


@dataclass(frozen=True)
class Sample:
    """Fields of a packet, and what dynamic sets hold when it comes."""

    facts: Facts
    live: Live


def rows(hook: str, selections: int) -> list[Field]:
    """Fields that packets at a hook have, guards first; those of `selections` included."""
    found = [row for row in fields.ALL if hook in row.hooks]
    asked = [
        fields.selected_field(end, n) for end in (fields.SUBJECT, fields.PEER) for n in range(selections)
    ]
    return found + [fields.lookup(name) for name in asked]


def inside(box: Box, known: Sequence[Field]) -> Iterator[Sample]:
    """Some packets of a box, of several kinds; none where none exists, or none was found."""
    found: dict[tuple[tuple[str, int], ...], Sample] = {}
    for end in (0, -1):
        asked = {name: values & _full(name) for name, values in box.items()}
        there = {name: values.ranges[end][end] for name, values in asked.items() if values}
        missing = {name for name, values in asked.items() if not values}
        for shape in _shapes(box):
            sample = completed(there | shape, missing, known)
            if sample is not None and _holds(box, sample):
                found.setdefault(tuple(sorted(sample.facts.items())), sample)
    return islice(iter(found.values()), MAX_SHAPES)


def boundary(program: MatchProgram, count: int) -> Iterator[Sample]:
    """So many packets at the ends of what matches ask for, one off on either side, and mixed of several."""
    draw = random.Random(0)
    matches, names = program.matches, sorted({name for match in program.matches for name, _ in match.tests})
    live, known = _contents(program, draw), rows(program.hook, len(program.selections))
    asking: dict[str, list[IntervalSet]] = {name: [] for name in names}
    for match in matches:
        for name, values in match.tests:
            asking[name].append(values)
    for number in range(count):
        wanted = _near(matches[number * len(matches) // count], draw) if matches else {}
        for name in draw.sample(names, min(len(names), draw.choice((0, 0, 1, 2)))):
            wanted[name] = _edge(name, draw.choice(asking[name]), draw)
        missing = {L4_PROTO} if draw.random() < 0.05 else set()
        sample = completed(wanted, missing, known)
        if sample is not None:
            # Half of them meet what the sets hold all the time, so that packets that are not in any occur.
            yield sample if number % 2 else replace(sample, live=live)


def completed(wanted: Mapping[str, int], missing: set[str], known: Sequence[Field]) -> Sample | None:
    """The packet that has these values, as far as its kind has such fields, and all others that it must have;
    None where something that it must have is to be missing."""
    facts: Facts = {"eth.type": wanted.get("eth.type", _implied(wanted))}
    may_lack = any(row.name == "ip.fragment" for row in known)
    later = may_lack and (L4_PROTO in missing or wanted.get("ip.fragment") == LATER)
    for row in known:
        if row.name in facts:
            continue
        if any(facts.get(guard, -1) not in allowed for guard, allowed in row.guards):
            continue
        if (row.transport and L4_PROTO not in facts) or (row.optional and row.name not in wanted):
            continue
        if row.name in missing:
            return None
        facts[row.name] = wanted.get(row.name, USUAL.get(row.name, row.least))
        if row.name == "ip.proto" and not later:
            facts[L4_PROTO] = facts["ip.proto"]
    if "ip.fragment" in facts and later != (facts["ip.fragment"] == LATER):
        facts["ip.fragment"] = LATER if later else WHOLE
    return Sample(facts, _members(wanted, facts))


def _shapes(box: Box) -> Iterator[dict[str, int]]:
    """Kinds of packets that the box leaves open: EtherType and protocol."""
    eth_types = [v for v in ETH_TYPES if v in box["eth.type"]] if "eth.type" in box else [None]
    protocols = [v for v in PROTOCOLS if v in box["ip.proto"]] if "ip.proto" in box else [None, *PROTOCOLS]
    for eth_type, protocol in product(eth_types or [None], protocols or [None]):
        yield {
            name: value
            for name, value in (("eth.type", eth_type), ("ip.proto", protocol))
            if value is not None
        }


def _holds(box: Box, sample: Sample) -> bool:
    for name, values in box.items():
        value = sample.facts.get(name)
        if (split := fields.split_live(name)) is not None:
            address = sample.facts.get(split[0])
            value = None if address is None else int(address in _family(split[0], sample.live.get(split[1])))
        if (1 << fields.lookup(name).width_bits if value is None else value) not in values:
            return False
    return True


def _near(match: Match, draw: random.Random) -> dict[str, int]:
    """Values at the ends of what a match asks for; now and then one beside them."""
    wanted = {name: draw.choice(draw.choice(values.ranges)) for name, values in match.tests}
    if wanted and draw.random() < 0.6:
        name, values = draw.choice(match.tests)
        wanted[name] = _edge(name, values, draw)
    return wanted


def _edge(name: str, values: IntervalSet, draw: random.Random) -> int:
    possible = fields.lookup(name).possible.ranges[0]
    value = draw.choice(draw.choice(values.ranges)) + draw.choice((-1, 0, 1))
    return min(max(value, possible[0]), possible[1])


def _implied(wanted: Mapping[str, int]) -> int:
    families = {name.partition(".")[0] for name in wanted}
    if families & {"ip6", "icmp6"}:
        return fields.ETH_P_IPV6
    return fields.ETH_P_ARP if "arp" in families else fields.ETH_P_IP


def _full(name: str) -> IntervalSet:
    return fields.lookup(name).full


def _members(wanted: Mapping[str, int], facts: Facts) -> Live:
    """Contents of dynamic sets that have the addresses that are to be in them."""
    held: dict[str, list[tuple[str, int]]] = {}
    for name, member in wanted.items():
        split = fields.split_live(name)
        if split is not None and member and split[0] in facts:
            held.setdefault(split[1], []).append((split[0], facts[split[0]]))
    return {
        name: Prefixes(
            *(IntervalSet.of(*(v for f, v in those if f.startswith(kind))) for kind in ("ip4", "ip6"))
        )
        for name, those in held.items()
    }


def _family(field: str, contents: Prefixes | None) -> IntervalSet:
    contents = contents or Prefixes()
    return contents.v6 if field.startswith("ip6.") else contents.v4


def _contents(program: MatchProgram, draw: random.Random) -> Live:
    """Something that dynamic sets hold: some of what matches ask for as addresses."""
    asked: dict[str, list[tuple[int, int]]] = {"ip4": [], "ip6": []}
    for match in program.matches[:1_000]:
        for name, values in match.tests:
            if name in ("ip4.src", "ip4.dst", "ip6.src", "ip6.dst"):
                asked[name[:3]] += values.ranges[:4]
    sets = {}
    for name, _ in program.live:
        v4, v6 = (draw.sample(sorted(set(asked[f])), min(2, len(set(asked[f])))) for f in ("ip4", "ip6"))
        sets[name] = Prefixes(IntervalSet.of(*v4), IntervalSet.of(*v6))
    return sets
