"""Fragments: what a policy makes of them, and the table that lends later fragments the transport header of
their first.

Three modes. `first-only`: a later fragment has no transport fields, so rules that ask for some do not match
it. `drop`: every fragment is dropped before any rule. `track`: the first fragment of a datagram leaves its
transport fields in a table under the datagram's identification, and later ones are judged by them; a later
fragment whose first has not been seen, or not within TIMEOUT_NS, is dropped before any rule. The first to
write an entry wins, so that a forged second "first fragment" changes nothing for the rest of the datagram.

A datagram is known by addresses and identification, in IPv4 also by protocol (RFC 791 §2.3). In IPv6 the
protocol is what the first fragment says (RFC 8200 §4.5), and so it is judged. The table is an LRU hash of
DATAGRAMS entries. Knows layouts and meaning; the clock is passed in. Generated code: `emit.fragments`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..decode.frame import FIRST, WHOLE, Facts
from ..layout import Member, Struct

MODES = ("first-only", "drop", "track")
DEFAULT_MODE = "first-only"
DATAGRAMS = 16_384
TIMEOUT_NS = 30_000_000_000  # after which Linux, too, gives an IPv4 datagram up (net.ipv4.ipfrag_time)

MAP = "fragments"
# Addresses as the decoder has them, in host order; `family` 4 or 6; `protocol` 0 in IPv6.
KEY = Struct(
    "fragment_key",
    48,
    (
        Member("src", 0, 8, 2),
        Member("dst", 16, 8, 2),
        Member("id", 32, 4),
        Member("family", 36, 4),
        Member("protocol", 40, 4),
    ),
)
# What a later fragment gets: a field's own width, rounded up. `seen_ns`: when the first fragment came.
FIELDS = (
    ("th.sport", 2),
    ("th.dport", 2),
    ("tcp.window", 2),
    ("meta.echo", 2),
    ("tcp.flags", 1),
    ("tcp.header", 1),
    ("icmp.type", 1),
    ("icmp.code", 1),
    ("icmp6.type", 1),
    ("icmp6.code", 1),
    ("ip.proto", 1),
)


def _value() -> Struct:
    members, offset = [Member("seen_ns", 0, 8)], 8
    for name, size in FIELDS:
        members.append(Member(name, offset, size))
        offset += size
    return Struct("fragment", (offset + 7) // 8 * 8, tuple(members))


VALUE = _value()


@dataclass(frozen=True)
class Fragment:
    """A fragment that is decided before any rule; `reason` for people."""

    reason: str


class Datagrams:
    """The table of one run of a reference meaning."""

    def __init__(self) -> None:
        self._first: dict[tuple[int, ...], tuple[int, dict[str, int]]] = {}

    def resolve(self, mode: str, facts: Facts) -> Facts | Fragment:
        """What a packet says in that mode. `facts`: `ip.fragment`, `meta.datagram` and `meta.time` among
        them."""
        kind = facts.get("ip.fragment", WHOLE)
        if kind == WHOLE or mode == "first-only":
            return facts
        if mode == "drop":
            return Fragment("fragments are dropped")
        key, now_ns = _datagram(facts), facts.get("meta.time", 0)
        seen_ns, fields = self._first.get(key, (0, None))
        known = fields is not None and now_ns - seen_ns < TIMEOUT_NS
        if kind == FIRST:
            if not known:
                lent = {name: facts[name] for name in (*(n for n, _ in FIELDS), "l4.proto") if name in facts}
                self._first[key] = (now_ns, lent)
            return facts
        return facts | fields if known and fields else Fragment("the first fragment has not been seen")


def _datagram(facts: Facts) -> tuple[int, ...]:
    family = 4 if "ip4.src" in facts else 6
    protocol = facts["ip.proto"] if family == 4 else 0
    return (family, facts[f"ip{family}.src"], facts[f"ip{family}.dst"], facts["meta.datagram"], protocol)
