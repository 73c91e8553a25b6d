"""States of connections, `-m conntrack --ctstate` and `-m state --state`, in policies for hosts.

Those know flows: packets of known ones pass before any rule, and rules are asked about all others. So a chain
that accepts RELATED,ESTABLISHED before it drops anything says what is so anyway; NEW and INVALID are
conditions on a packet that belongs to no flow. Sources: nf_conntrack_proto_tcp.c (tcp_conntracks, from sNO),
nf_conntrack_proto_icmp.c and _icmpv6.c (valid_new). Knows states; must never know a chain's text."""

from __future__ import annotations

from collections.abc import Sequence

from lockgate.stdlib_bpf.fields import IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP
from lockgate.stdlib_bpf.sets import IntervalSet

from ...source import Span
from ..model import Box, FlatRule
from ..refusals import NotSayableError
from . import values

MODULES = frozenset({"conntrack", "state"})
KNOWN = frozenset({"ESTABLISHED", "RELATED"})
NEW, INVALID = frozenset({"NEW"}), frozenset({"INVALID"})
LABEL = "packets of known flows"  # of the rule that accepts them, until it is left out
_ALL = "FIN,SYN,RST,ACK"
_MASK = values.flags(_ALL)
BEGINS = values.with_flags(_MASK, values.flags("SYN")) | values.with_flags(_MASK, values.flags("ACK"))
# All others, in parts that people write: RST; else FIN; else both or none of SYN and ACK.
IMPOSSIBLE = [
    values.with_flags(values.flags(mask), values.flags(value))
    for mask, value in (("RST", "RST"), ("FIN,RST", "FIN"), ("FIN,SYN,RST,ACK", "SYN,ACK"), (_ALL, "NONE"))
]
# Types that begin a flow; others that are judged without one are no errors.
ASKS = {4: IntervalSet.of(8, 13, 15, 17), 6: IntervalSet.of(128, 139)}
UNTRACKED = {4: IntervalSet(), 6: IntervalSet.of((130, 137), 143)}


def new(family: int) -> list[Box]:
    """Packets of no flow that begin one."""
    icmp, field = _icmp(family)
    others = IntervalSet.of(IPPROTO_TCP, icmp).complement(8)
    return [
        {"ip.proto": IntervalSet.of(IPPROTO_TCP), "tcp.flags": BEGINS},
        {"ip.proto": IntervalSet.of(icmp), field: ASKS[family]},
        {"ip.proto": others},
    ]


def invalid(family: int) -> list[Box]:
    """Packets of no flow that begin none."""
    icmp, field = _icmp(family)
    return [
        *({"ip.proto": IntervalSet.of(IPPROTO_TCP), "tcp.flags": flags} for flags in IMPOSSIBLE),
        {"ip.proto": IntervalSet.of(icmp), field: (ASKS[family] | UNTRACKED[family]).complement(8)},
    ]


def _icmp(family: int) -> tuple[int, str]:
    return (IPPROTO_ICMP, "icmp.type") if family == 4 else (IPPROTO_ICMPV6, "icmp6.type")


def asked(words: str, negated: bool) -> frozenset[str]:
    """The states that an option names. NotSayableError."""
    states = frozenset(words.split(","))
    if (
        negated
        or states - KNOWN not in (frozenset(), NEW, INVALID)
        or (states & KNOWN and not states >= KNOWN and not states >= NEW)
        or (states & KNOWN and states >= INVALID)
    ):
        raise NotSayableError(
            f"{'! ' * negated}--ctstate {words}",
            "packets of known flows, their errors with them, pass before any rule is asked",
            "write RELATED,ESTABLISHED, NEW or INVALID",
        )
    return states


def left_out(rules: Sequence[FlatRule], chain: str, span: Span) -> list[FlatRule]:
    """The rules of a built-in chain without the one that accepts packets of known flows. NotSayableError with
    the place where they are not accepted before all else."""
    drops = [rule for rule in rules if rule.action.word not in ("allow", "continue")]
    place = next((n for n, rule in enumerate(rules) if rule.action.label == LABEL), None)
    if place is None and not drops:
        return list(rules)
    if place is None or rules[place].box:
        raise NotSayableError(
            chain,
            "it drops packets of known flows too, which pass here before any rule",
            "begin it with: -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        )
    if any(rule in drops for rule in rules[:place]):
        raise NotSayableError(
            chain,
            "packets of known flows are dropped before they are accepted; here they pass before any rule",
            "put the rule that accepts RELATED,ESTABLISHED first",
        )
    return [rule for rule in rules if rule.action.label != LABEL]
