"""Rate limits: a token bucket in one word, the virtual-scheduling form of the generic cell rate algorithm
(ITU-T I.371, annex A; RFC 3290 §5.1.3 calls the same a token bucket).

A bucket is the time at which it will be full again (`full_at`, ns). Taking n units moves that time on by what
n units take at the rate; a packet conforms while the time stays within `burst` units of now. One 64-bit word
is changed by one compare-and-exchange, so a bucket is exact on any number of CPUs: it never lets through more
than burst + rate * time. It lets through less in two cases, both bounded: the cost of a packet is rounded up
to a whole ns (a share of rate/1e9: 0.1 % at a million packets a second), and a packet that loses TRIES races
in a row for one word counts as over the limit. Buckets per key live in an LRU hash of KEYS entries: a key
that was pushed out by KEYS fresher ones begins with a full bucket again.

Knows numbers and layouts; the clock is passed in. Generated code: `emit.limits`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..layout import Member, Struct

KEYS = 65_536
# The map with the buckets of limits that have one each, by number. Each has a cache line of its own, so that
# processors that ask different limits do not wait for one another.
BUCKETS, BUCKET_BYTES = "buckets", 64
TRIES = 4
SECOND_NS = 1_000_000_000
# Units of time as people write them: after a number, without a blank.
TIME_UNITS_NS = {
    "ms": 10**6,
    "s": SECOND_NS,
    "m": 60 * SECOND_NS,
    "h": 3600 * SECOND_NS,
    "d": 86400 * SECOND_NS,
}
MAX_UNITS = 1 << 20  # of one packet: bytes of the longest frame, segments of the largest super-packet
_MULT_BITS = 43  # mult * MAX_UNITS stays below 2**63

# Keys in memory order: addresses and ports in network order, an IPv4 address in the first 4 bytes.
ADDRESS_KEY = Struct(
    "limit_address",
    24,
    (Member("address", 0, 1, 16), Member("family", 16, 4)),
)
FLOW_KEY = Struct(
    "limit_flow",
    48,
    (
        Member("src", 0, 1, 16),
        Member("dst", 16, 1, 16),
        Member("family", 32, 4),
        Member("protocol", 36, 4),
        Member("sport", 40, 4),
        Member("dport", 44, 4),
    ),
)
KEY_OF: dict[str, Struct] = {"source": ADDRESS_KEY, "destination": ADDRESS_KEY, "flow": FLOW_KEY}
PER = tuple(KEY_OF)
UNITS = ("packets", "bytes")


@dataclass(frozen=True)
class Limit:
    """`count` units in `period_ns`, `burst` units at once. `unit`: "packets" (segments, where the hook sees
    several in one) or "bytes". `per`: None for one bucket, else of PER; addresses are cut to `v4_bits` and
    `v6_bits`."""

    count: int
    period_ns: int
    burst: int
    unit: str = "packets"
    per: str | None = None
    v4_bits: int = 32
    v6_bits: int = 128

    @property
    def scale(self) -> tuple[int, int]:
        """(mult, shift): n units take (n * mult + 2**shift - 1) >> shift ns, never less than exact."""
        shift = 32
        while self.period_ns << shift > self.count << _MULT_BITS:
            shift -= 1
        return -(-(self.period_ns << shift) // self.count), shift

    def cost_ns(self, units: int) -> int:
        """Time that so many units take at the rate."""
        mult, shift = self.scale
        return (units * mult + (1 << shift) - 1) >> shift

    def take(self, full_at: int, now_ns: int, units: int) -> int | None:
        """The bucket after a packet of `units` has taken its tokens, None when there are too few. A packet
        larger than the burst conforms when the bucket is full: it may not wait for ever."""
        start = max(full_at, now_ns)
        if start - now_ns + self.cost_ns(min(units, self.burst)) > self.cost_ns(self.burst):
            return None
        return start + self.cost_ns(units)


Key = tuple[int, ...]


def key_of(limit: Limit, facts: Mapping[str, int]) -> Key | None:
    """Which bucket a packet takes from: (family, masked addresses, and of a flow protocol and ports, zero
    where there are none). None for a packet that has no addresses and a limit that asks for them."""
    if limit.per is None:
        return ()
    family = next((f for f in (4, 6) if f"ip{f}.dst" in facts), None)
    if family is None:
        return None
    width, bits = (32, limit.v4_bits) if family == 4 else (128, limit.v6_bits)
    mask = ((1 << bits) - 1) << (width - bits)
    sides = {"source": ("src",), "destination": ("dst",), "flow": ("src", "dst")}[limit.per]
    addresses = tuple(facts[f"ip{family}.{side}"] & mask for side in sides)
    if limit.per != "flow":
        return (family, *addresses)
    ports = (facts.get("th.sport", 0), facts.get("th.dport", 0))
    return (family, *addresses, facts["ip.proto"], *ports)


class Buckets:
    """The buckets of one run of a reference meaning: rule and key → when full again."""

    def __init__(self) -> None:
        self._full_at: dict[tuple[int, Key], int] = {}

    def admit(self, rule: int, limit: Limit, facts: Mapping[str, int]) -> bool:
        """Whether the rule's bucket for this packet has tokens left; takes them. `facts`: `meta.time` in ns,
        `meta.segments`, `meta.length` in bytes, absent ones as 0, 1 and 0."""
        key = key_of(limit, facts)
        if key is None:
            return False
        units = facts.get("meta.segments", 1) if limit.unit == "packets" else facts.get("meta.length", 0)
        full_at = limit.take(self._full_at.get((rule, key), 0), facts.get("meta.time", 0), units)
        if full_at is None:
            return False
        self._full_at[rule, key] = full_at
        return True
