"""Flows: who speaks with whom, how far they are, and for how long they may be silent.

A flow belongs to the endpoint that is judged (the subject): both ends of a conversation between two pods of
one host have one each. Its state is seven bits, MARKS and whether it is confirmed, and every step of it is
one byte of a table (STEPS), which the reference and generated code share; so is how long it lasts (TIMEOUTS).

A flow is confirmed when its opener has spoken, was answered, and spoke again: whoever forges the opener's
address never gets so far. Unconfirmed flows lie in OPENINGS, an LRU hash, so that a flood of them pushes out
others of their kind; confirmed ones in FLOWS, where nothing pushes them out. TCP is strict when SYN alone
began the flow; flows of other protocols, and of TCP that a rule let in later, are loose: any packet will do
for an answer. There is no check of sequence numbers: a reset closes a flow, and whoever is said to have sent
it opens it again by going on.

Sources: RFC 9293 §3.3.2 and §3.5; RFC 5382 REQ-5 (TCP), RFC 4787 REQ-5 (UDP), RFC 5508 REQ-1 (ICMP) for
times; nf_conntrack_proto_tcp.c for which flags go together. Knows layouts and meaning; the clock is passed
in. Generated code: `emit.flows`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..decode.quote import ERRORS, ICMP_OF
from ..fields import IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP
from ..layout import Member, Struct

FLOWS, OPENINGS = "flows", "openings"
STACK, FAST = FORWARD = ("stack", "fast")  # how packets of known flows are forwarded (`emit.forward`)
AGAIN, STATELESS, KEPT = LASTS = (
    "again",
    "stateless",
    "kept",
)  # what a rule that allows makes: a flow that is
# judged again under another epoch, none, or one that is judged for good
FOR_GOOD = (1 << 64) - 1  # the epoch of what is judged for good
MAX_FLOWS, MAX_OPENINGS = 1 << 20, 1 << 16

# Addresses as the decoder has them, in host order, an IPv4 address in the lower half; `ifindex` as a key of
# `endpoints.INTERFACES`; ports 0 where there are none; `family` 4 or 6.
KEY = Struct(
    "flow_key",
    48,
    (
        Member("subject", 0, 8, 2),
        Member("peer", 16, 8, 2),
        Member("ifindex", 32, 4),
        Member("subject_port", 36, 2),
        Member("peer_port", 38, 2),
        Member("protocol", 40, 4),
        Member("family", 44, 4),
    ),
)
# `epoch`: of the judgement; `seen_ns`, `since_ns`: last and first packet; `packets`, `bytes`: received by the
# subject, then sent, about; `marks`; `opener`: direction of the first packet; `kind`: row of TIMEOUTS;
# `uplink`: ifindex of the host's own interface that the flow has been seen to leave through, behind the stack
# and with these ends, or 0; `ticket`: of a confirmed flow (`state.expiry`); `slot`: of the
# rule that let it in, where its end is to be told (`state.events`), else 0.
FLOW = Struct(
    "flow",
    88,
    (
        Member("epoch", 0, 8),
        Member("seen_ns", 8, 8),
        Member("since_ns", 16, 8),
        Member("packets", 24, 8, 2),
        Member("bytes", 40, 8, 2),
        Member("marks", 56, 4),
        Member("opener", 60, 4),
        Member("kind", 64, 4),
        Member("uplink", 68, 4),
        Member("ticket", 72, 8),
        Member("slot", 80, 4),
    ),
)

# ---- states ----

FIN_SHIFT, RST_SHIFT = 0, 2  # one bit for each side: 0 the opener, 1 the other
FINS, RSTS, ANSWERED, LOOSE = 0b11, 0b1100, 0x10, 0x20
MARKS = 0x3F
CONFIRMED = 0x40  # lies in FLOWS; no mark, since where an entry lies says so
STATES = 0x80
ASK, INVALID = 0x80, 0xFF  # in STEPS, besides states: it is like a packet that opens; it cannot be

# Of TCP's flags FIN, SYN, RST and ACK, as four bits. A packet of another protocol counts as ACK.
FIN, SYN, RST, ACK = 1, 2, 4, 8
NIBBLES = 16


def nibble(flags: int) -> int:
    """The four bits of a byte of flags."""
    return flags & 7 | flags >> 1 & 8


def closed(state: int) -> bool:
    """Whether a flow is over but for what is still under way."""
    return bool(state & RSTS) or state & FINS == FINS


def _step(state: int, side: int, bits: int) -> int:
    """The next state, ASK or INVALID."""
    over, confirmed = closed(state), bool(state & CONFIRMED)
    if bits in (RST, RST | ACK):
        return state | 1 << RST_SHIFT + side
    strict = not (over or confirmed or state & LOOSE)
    if bits == SYN:
        if not strict:
            return ASK
        return state if side == 0 else state | ANSWERED  # both ends open at once
    if bits not in (ACK, SYN | ACK, FIN | ACK):
        return INVALID
    if strict and not state & ANSWERED:  # only SYN has been seen
        if side == 0 or bits == FIN | ACK:
            return INVALID
        if bits == ACK:
            return state  # who still has an old connection says so (RFC 9293 §3.5.1)
    after = state & ~(1 << RST_SHIFT + side)
    if bits & FIN:
        after |= 1 << FIN_SHIFT + side
    if over or confirmed:
        return after
    if side == 1:
        return after | ANSWERED
    return after | CONFIRMED if state & ANSWERED and not (strict and bits & SYN) else after


# [state << 5 | side << 4 | nibble]
STEPS = bytes(_step(state, side, bits) for state in range(STATES) for side in (0, 1) for bits in range(16))
# [nibble]: state of a flow that begins so, INVALID for one that does not begin
BEGINNINGS = bytes(
    {SYN: 0, ACK: LOOSE, SYN | ACK: LOOSE, FIN | ACK: LOOSE | 1 << FIN_SHIFT}.get(bits, INVALID)
    for bits in range(NIBBLES)
)


def step(state: int, side: int, bits: int) -> int:
    """Look a step up."""
    return STEPS[state << 5 | side << 4 | bits]


# ---- times ----

TCP, UDP, ICMP, OTHER = range(4)  # kinds
KIND_OF = {IPPROTO_TCP: TCP, IPPROTO_UDP: UDP, IPPROTO_ICMP: ICMP, IPPROTO_ICMPV6: ICMP}
# kind → seconds without a packet: begun, answered, confirmed
SILENCE_S = {TCP: (60, 60, 7440), UDP: (30, 120, 300), ICMP: (60, 60, 60), OTHER: (60, 600, 600)}
CLOSING_S, CLOSED_S, RESET_S = 240, 120, 10  # one end has no more to say; neither; it was reset
SECOND_NS = 1_000_000_000


def _timeout_s(kind: int, state: int) -> int:
    if state & RSTS:
        return RESET_S
    if state & FINS:
        return CLOSED_S if closed(state) else CLOSING_S
    begun, answered, confirmed = SILENCE_S[kind]
    return confirmed if state & CONFIRMED else answered if state & ANSWERED else begun


# [kind << 7 | state]
TIMEOUTS_NS = tuple(_timeout_s(kind, state) * SECOND_NS for kind in range(4) for state in range(STATES))

# ---- which flow ----

Key = tuple[int, int, int, int, int, int, int]  # ifindex, family, protocol, subject, its port, peer, its port
REQUEST, REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}  # ICMP echo (RFC 792, RFC 4443 §4)


def _ports(family: int, proto: int, said: Mapping[str, int]) -> tuple[int, int] | None:
    """Ports of source and destination. Of an ICMP echo, whoever asks has the identifier for a port, and
    whoever answers none; other ICMP is of no flow. `said`: sport and dport, or type and echo."""
    if proto != ICMP_OF[family]:
        return said.get("sport", 0), said.get("dport", 0)
    asks = {REQUEST[family]: (said["echo"], 0), REPLY[family]: (0, said["echo"])} if "type" in said else {}
    return asks.get(said.get("type", -1))


def _key(
    ifindex: int, proto: int, ends: tuple[int, int, int], sends: bool, ports: tuple[int, int] | None
) -> Key | None:
    """`ends`: family, source, destination."""
    if ports is None:
        return None
    family, src, dst = ends
    subject, peer = ((src, ports[0]), (dst, ports[1])) if sends else ((dst, ports[1]), (src, ports[0]))
    return (ifindex, family, proto, *subject, *peer)


def key_of(facts: Mapping[str, int], ifindex: int, sends: bool) -> Key | None:
    """The flow of a packet that the subject sends or receives; None for a packet of none."""
    family = 4 if "ip4.src" in facts else 6
    names = {"sport": "th.sport", "dport": "th.dport", "type": _icmp_type(family), "echo": "meta.echo"}
    said = {short: facts[name] for short, name in names.items() if name in facts}
    ends, proto = (family, facts[f"ip{family}.src"], facts[f"ip{family}.dst"]), facts["ip.proto"]
    return _key(ifindex, proto, ends, sends, _ports(family, proto, said))


def quoted_key(facts: Mapping[str, int], ifindex: int, sends: bool) -> Key | None:
    """The flow that an ICMP error speaks of: it goes to whoever sent the quoted packet, and an endpoint that
    sends it was to receive that. None where it is no error, or speaks of no flow of the subject."""
    family = 4 if "ip4.src" in facts else 6
    if facts.get(_icmp_type(family)) not in ERRORS[family] or "quote.proto" not in facts:
        return None
    src, dst, proto = (facts[f"quote.{name}"] for name in ("src", "dst", "proto"))
    if src != facts[f"ip{family}.dst"] or (sends and dst != facts[f"ip{family}.src"]):
        return None
    said = {name.removeprefix("quote."): value for name, value in facts.items() if name.startswith("quote.")}
    return _key(ifindex, proto, (family, src, dst), not sends, _ports(family, proto, said))


def _icmp_type(family: int) -> str:
    return "icmp.type" if family == 4 else "icmp6.type"


def flag_bits(facts: Mapping[str, int]) -> int:
    """The packet's flags for STEPS."""
    return nibble(facts.get("tcp.flags", 0)) if facts["ip.proto"] == IPPROTO_TCP else ACK


def opens(facts: Mapping[str, int]) -> int:
    """The field `flow.opens`."""
    if facts.get("ip.proto") == IPPROTO_TCP:
        return int(flag_bits(facts) == SYN)
    return int(all(facts.get(_icmp_type(family)) != REPLY[family] for family in (4, 6)))


def as_opened(facts: Mapping[str, int], turned: bool) -> dict[str, int]:
    """A packet of a known flow as the packet that opened it: SYN alone, an echo request; `turned`: the ends
    change places, because it goes the other way."""
    out = dict(facts)
    if turned:
        for side, other in (("src", "dst"), ("dst", "src")):
            for family in (4, 6):
                if f"ip{family}.{side}" in facts:
                    out[f"ip{family}.{side}"] = facts[f"ip{family}.{other}"]
        if "th.sport" in facts:
            out["th.sport"], out["th.dport"] = facts["th.dport"], facts["th.sport"]
        out["flow.direction"] = 1 - facts["flow.direction"]
    if "tcp.flags" in facts:
        out["tcp.flags"] = 0x02
    for family in (4, 6):
        if _icmp_type(family) in facts:
            out[_icmp_type(family)] = REQUEST[family]
    return out | {"flow.opens": 1}


# ---- the tables ----


@dataclass
class Flow:
    """One entry of either table; `state` says which. Members as in FLOW."""

    epoch: int
    state: int
    opener: int
    kind: int
    since_ns: int
    seen_ns: int
    packets: list[int] = field(default_factory=lambda: [0, 0])
    bytes: list[int] = field(default_factory=lambda: [0, 0])

    def lives(self, now_ns: int) -> bool:
        """Whether it has not been silent for too long."""
        return now_ns - self.seen_ns < TIMEOUTS_NS[self.kind << 7 | self.state]

    def side(self, direction: int) -> int:
        """Who sends a packet of that direction: 0 the opener, 1 the other."""
        return int(direction != self.opener)

    def touch(self, following: int, direction: int, length: int, now_ns: int) -> None:
        """A packet belongs to it, and `following` is its state afterwards. What comes behind the end does not
        make it last longer."""
        self.packets[direction] += 1
        self.bytes[direction] += length
        if not (closed(self.state) and following == self.state):
            self.seen_ns = now_ns
        self.state = following


def key_from(raw: bytes) -> Key:
    """A flow's key from its bytes (KEY)."""
    number = {n: one for n, one in KEY.unpack(raw[: KEY.size]).items() if isinstance(one, int)}
    subject, peer = (
        high << 64 | low
        for high, low in (struct.unpack_from("<2Q", raw, KEY.offset(end)) for end in ("subject", "peer"))
    )
    head = number["ifindex"], number["family"], number["protocol"]
    return (*head, subject, number["subject_port"], peer, number["peer_port"])


def unpack(key: bytes, value: bytes, confirmed: bool) -> tuple[Key, Flow]:
    """A flow from the bytes of an entry of FLOWS (`confirmed`) or OPENINGS."""
    number = {n: one for n, one in FLOW.unpack(value).items() if isinstance(one, int)}
    flow = Flow(
        number["epoch"],
        number["marks"] | CONFIRMED * confirmed,
        number["opener"],
        number["kind"],
        number["since_ns"],
        number["seen_ns"],
        list(struct.unpack_from("<2Q", value, FLOW.offset("packets"))),
        list(struct.unpack_from("<2Q", value, FLOW.offset("bytes"))),
    )
    return key_from(key), flow


def begin(facts: Mapping[str, int], state: int, epoch: int) -> Flow:
    """A flow whose first packet this is."""
    now, direction = facts.get("meta.time", 0), facts["flow.direction"]
    flow = Flow(epoch, state, direction, KIND_OF.get(facts["ip.proto"], OTHER), now, now)
    flow.touch(state, direction, facts.get("meta.length", 0), now)
    return flow
