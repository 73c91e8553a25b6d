"""Assertions of tests: proved for every packet, or shown wrong by one.

Knows how a packet is made of a box (`match.prove`) and lets the reference judge it: a counterexample is never
guessed. Dynamic sets hold what a test says; others may hold anything, and a counterexample says what.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.decode.frame import Facts, decode
from lockgate.stdlib_bpf.decode.sock_addr import SocketCall
from lockgate.stdlib_bpf.decode.sock_addr import decode as decode_call
from lockgate.stdlib_bpf.sets import IntervalSet

from . import frames, packet, policy
from .codes import TCP_FLAGS
from .decision import Decision
from .match.boxes import Box
from .match.ir import MatchProgram
from .match.lower import conjunctions, lower
from .match.networks import Cubes
from .match.prove import TooMuchWork, suspects
from .packet import Lists
from .policy.decide import matches
from .policy.model import Assert, Chain, Prefixes, Rule

MAX_SUSPECTS = 200  # boxes tried for a packet that exists
# Preferred where a box leaves the choice: what people expect to read.
USUAL = {
    "th.sport": (40000,),
    "th.dport": (80, 443, 22),
    "ip.proto": (fields.IPPROTO_TCP, fields.IPPROTO_UDP, fields.IPPROTO_ICMP, fields.IPPROTO_ICMPV6),
    "tcp.flags": (2, 16),
    "ip4.src": (0x08080808, frames.DEFAULT_SRC[4]),
    "ip4.dst": (frames.DEFAULT_DST[4],),
    "ip6.src": (0x20014860486000000000000000008888, frames.DEFAULT_SRC[6]),
    "ip6.dst": (frames.DEFAULT_DST[6],),
}


@dataclass(frozen=True)
class Counterexample:
    """A packet, as text, that the claim describes and that gets another verdict; `lists`: of its chain;
    `live`: what dynamic sets hold then, beyond what the test says."""

    packet: str
    facts: Facts
    decision: Decision
    lists: Lists
    live: tuple[tuple[str, Prefixes], ...] = ()


@dataclass(frozen=True)
class Unproved:
    """Neither proved nor shown wrong; `reason` completes "because"."""

    reason: str


def check(chain: Chain, claim: Assert, given: Mapping[str, Prefixes]) -> Counterexample | Unproved | None:
    """None when the assertion holds for every packet. `given`: contents of dynamic sets; others may hold
    anything."""
    asked = claim.rule
    boxes = [box for tests in conjunctions(asked, Cubes()) if (box := known(dict(tests), given)) is not None]
    tried = 0
    try:
        for suspect in suspects(told(lower(chain), given), boxes, asked.verdict):
            found = _packet_of(chain, asked, suspect.box, given)
            if found is not None:
                return found
            tried += 1
            if tried == MAX_SUSPECTS:
                break
    except TooMuchWork:
        return Unproved("the rules cut what it describes into too many pieces")
    return Unproved("some packets might contradict it, and none was found that exists") if tried else None


def told(program: MatchProgram, given: Mapping[str, Prefixes]) -> MatchProgram:
    """The program with the contents of dynamic sets put in."""
    kept = []
    for match in program.matches:
        box = known(dict(match.tests), given)
        if box is not None:
            kept.append(replace(match, tests=tuple(box.items())))
    return replace(program, matches=tuple(kept))


def known(box: Box, given: Mapping[str, Prefixes]) -> Box | None:
    """A box without tests of sets whose contents are given; None when nothing is left of it."""
    out = dict(box)
    for name, member in box.items():
        split = fields.split_live(name)
        if split is None or split[1] not in given:
            continue
        field, contents = split[0], given[split[1]]
        inside = contents.v6 if field.startswith("ip6.") else contents.v4
        out[field] = out[field] & inside if 1 in member else out[field] - inside
        del out[name]
        if not out[field]:
            return None
    return out


def _packet_of(chain: Chain, asked: Rule, box: Box, given: Mapping[str, Prefixes]) -> Counterexample | None:
    for text, decoded, live in packets(chain, box, given):
        if not matches(asked, decoded, live):
            continue
        decision = policy.decide(chain, decoded, live)
        if decision.verdict != asked.verdict:
            assumed = tuple((name, held) for name, held in live.items() if name not in given)
            return Counterexample(text, decoded, decision, chain.lists, assumed)
    return None


def packets(
    chain: Chain, box: Box, given: Mapping[str, Prefixes]
) -> Iterator[tuple[str, Facts, dict[str, Prefixes]]]:
    """Some packets of a box that exist: as text, decoded, and what dynamic sets hold then. What a packet does
    not say of itself, such as who an end is, is left aside."""
    for point in _points(box):
        assumed = {name: Prefixes(*_single(field, value)) for field, name, value in _members(point)}
        facts = {name: value for name, value in point.items() if name in fields.BY_NAME}
        describe = packet.describe_call if chain.hook == "connect" else packet.describe
        text = describe(facts, chain.lists)
        decoded = _decoded(text, chain)
        if decoded is not None:
            yield text, decoded, {**assumed, **given}


def _decoded(text: str, chain: Chain) -> Facts | None:
    try:
        parsed = packet.parse(text, chain.lists)
    except ValueError:
        return None
    facts = decode_call(parsed) if isinstance(parsed, SocketCall) else decode(parsed)
    return facts if isinstance(facts, dict) else None


def _points(box: Box) -> Iterator[Facts]:
    """Packets of the box: with usual values, with its lowest, its highest, and some from the middle. A field
    whose only value stands for "missing" is left out."""
    choices = (_usual, lambda _, v: v.ranges[0][0], lambda _, v: v.ranges[-1][1], _middle)
    for choose in choices:
        point: Facts = {}
        for name, values in box.items():
            there = values & fields.lookup(name).full
            if there:
                point[name] = choose(name, there)
        yield point


def _usual(name: str, values: IntervalSet) -> int:
    wanted = USUAL.get(name, ())
    return next((value for value in wanted if value in values), values.ranges[0][0])


def _middle(name: str, values: IntervalSet) -> int:
    low, high = values.ranges[len(values) // 2]
    return (low + high) // 2


def _members(point: Facts) -> Iterator[tuple[str, str, int]]:
    """(address field, dynamic set, address) of addresses that a point has in dynamic sets."""
    for name, member in point.items():
        split = fields.split_live(name)
        if split is not None and member and split[0] in point:
            yield (*split, point[split[0]])


def _single(field: str, address: int) -> tuple[IntervalSet, IntervalSet]:
    one, none = IntervalSet.of(address), IntervalSet()
    return (none, one) if field.startswith("ip6.") else (one, none)


def sentence(example: Counterexample, by: str, ends: Mapping[str, str] | None = None) -> str | None:
    """The counterexample as an `expect` line to paste into the test; None for what a sentence has no words
    for beside the packet's text. `ends`: who is behind "from" and "to", where that is no address."""
    facts = example.facts
    words = ["expect", example.decision.verdict]
    name = next((n for n, number in packet.PROTOCOLS.items() if number == facts.get("ip.proto")), None)
    family = 4 if "ip4.dst" in facts else 6
    if name is None or f"ip{family}.dst" not in facts or "l4.proto" not in facts:
        return None
    words.append(name)
    for side, end, port in (("from", "src", "th.sport"), ("to", "dst", "th.dport")):
        address = facts.get(f"ip{family}.{end}")
        if address is not None:
            words += [side, (ends or {}).get(side) or packet.address_text(family, address)]
            words += ["port", str(facts[port])] if port in facts else []
    if "tcp.flags" in facts:
        words += ["flags", ", ".join(n for n, bit in TCP_FLAGS.items() if facts["tcp.flags"] & bit)]
    kind = facts.get("icmp.type", facts.get("icmp6.type"))
    words += [] if kind is None else ["type", str(kind)]
    others = [
        (field, packet.value_text(field, value, example.lists)) for field, value in packet.besides(facts)
    ]
    words += ["if", " and ".join(f"{field} == {text}" for field, text in others)] if others else []
    return " ".join([*words, "by", by])
