"""What HNS cannot say, or not exactly: found before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.effects import NONE
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state.devices import is_pattern

from ..match.ir import Match, MatchProgram, RuleInfo
from ..otherwise import Refusal
from ..policy.model import Chain
from .acl import ACTIONS, BLOCK, FAMILIES, FIRST, LAST, of_ip, priorities

MAX_PREFIXES = 1_000  # of one rule; a negation of a host is 32 or 128 of them
MAX_PROTOCOLS = 16
PORTS = IntervalSet.of(fields.IPPROTO_TCP, fields.IPPROTO_UDP)
SAID = ("eth.type", "ip.proto", "ip4.src", "ip4.dst", "ip6.src", "ip6.dst", "th.sport", "th.dport")
HOOK_REASONS = {
    "xdp": "an endpoint's access list has directions; only tc has",
    "connect": "HNS judges packets, not calls",
    "endpoint": "addresses of endpoints come with an inventory, which is not read for this target yet",
}
LEAVE_OUT = "leave it out"


def refused(lists: Sequence[tuple[Chain, MatchProgram]]) -> Iterator[Refusal]:
    """Everything in a policy that HNS cannot say."""
    for chain, program in lists:
        if chain.hook != "tc":
            reason = HOOK_REASONS[chain.hook]
            yield Refusal(chain.span, f"judge at {chain.hook}", reason, "write the policy at tc")
            continue
        for target in chain.targets:
            if is_pattern(target):
                reason = "a document is for endpoints by their names"
                yield Refusal(chain.span, f"find endpoints by the pattern `{target}`", reason, "name them")
        if chain.fragments != "first-only":
            reason = "an entry knows nothing of fragments"
            yield Refusal(
                chain.span, f"`fragments {chain.fragments}`", reason, "write `fragments first-only`"
            )
        if chain.default not in ACTIONS:
            span = chain.default_span or chain.span
            yield Refusal(span, f"`default {chain.default}`", "nobody is answered", "write `default drop`")
        for rule in program.rules:
            for what, why, instead in _rule(rule):
                yield Refusal(rule.span or chain.span, what, why, instead)
        told: set[tuple[int, str]] = set()
        for match in program.matches:
            action = ACTIONS.get(program.rules[match.rule].verdict)
            for what, why, instead in _tests(match, action):
                if (match.rule, what) not in told:
                    told.add((match.rule, what))
                    yield Refusal(program.rules[match.rule].span or chain.span, what, why, instead)
        if program.matches and _highest(program) >= LAST:
            reason = f"there are {LAST - FIRST:,} priorities for changes between allowing and blocking"
            yield Refusal(chain.span, "a list this long", reason, "put rules of one verdict together")


def _highest(program: MatchProgram) -> int:
    known = all(program.rules[match.rule].verdict in ACTIONS for match in program.matches)
    return priorities(program)[-1] if known else FIRST


def _rule(rule: RuleInfo) -> Iterator[tuple[str, str, str]]:
    if rule.verdict not in ACTIONS:
        yield f"`{rule.verdict}`", "an entry allows or blocks, and decides", "write `allow` or `drop`"
    elif rule.effects != NONE:
        yield "`mark` and `dscp`", "an entry changes no packet", LEAVE_OUT
    if rule.limit is not None:
        yield "`limit`", "an entry has no rate", LEAVE_OUT
    if rule.sample:
        yield "`log`", "an entry writes no log", LEAVE_OUT
    if rule.count is not None:
        yield "`count`", "an entry has no counter", LEAVE_OUT


def _tests(match: Match, action: str | None) -> Iterator[tuple[str, str, str]]:
    tests = dict(match.tests)
    eth_types = tests.get("eth.type")
    if action == BLOCK and eth_types is not None and eth_types - fields.IP:
        yield "block packets that are not IP", "an access list sees IP alone", LEAVE_OUT
    if not of_ip(match):
        return
    for name in tests:
        if name not in SAID:
            what = "a dynamic set" if fields.split_live(name) else f"a test of `{name}`"
            yield (
                what,
                "an entry asks for protocols, addresses and ports alone",
                "build it for another target",
            )
    protocols = tests.get("ip.proto")
    if ("th.sport" in tests or "th.dport" in tests) and not (protocols or PORTS).issubset(PORTS):
        yield "ports of SCTP", "an entry has ports of TCP and UDP", "ask for the protocol alone"
    if protocols is not None and protocols != IntervalSet.full(8) and protocols.count > MAX_PROTOCOLS:
        yield f"{protocols.count} protocols", f"an entry lists each, {MAX_PROTOCOLS} at most", "name fewer"
    for family in FAMILIES:
        for side in ("src", "dst"):
            values = tests.get(f"ip{family}.{side}", IntervalSet())
            count = sum(1 for _ in values.prefixes(32 if family == "4" else 128))
            if count > MAX_PREFIXES:
                why = f"an entry lists prefixes, {MAX_PREFIXES:,} at most"
                yield f"a network of {count:,} prefixes", why, "write it without `not` or in parts"
