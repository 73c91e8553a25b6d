"""What HNS cannot say, or not exactly: found before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.effects import NONE
from lockgate.stdlib_bpf.inventory import Inventory
from lockgate.stdlib_bpf.labels import HOST
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state.devices import is_pattern
from lockgate.stdlib_bpf.state.flows import STACK, STATELESS

from ..match.ir import Match, MatchProgram, RuleInfo
from ..match.residents import Lists, residents
from ..match.straight import MAX_MATCHES, TooLong
from ..otherwise import Refusal
from ..policy.model import Chain
from ..source import Span
from .acl import ACTIONS, BLOCK, FAMILIES, FIRST, LAST, of_ip, priorities
from .endpoints import judged

MAX_PREFIXES = 1_000  # of one rule; a negation of a host is 32 or 128 of them
MAX_PROTOCOLS = 16
PORTS = IntervalSet.of(fields.IPPROTO_TCP, fields.IPPROTO_UDP)
SAID = ("eth.type", "ip.proto", "ip4.src", "ip4.dst", "ip6.src", "ip6.dst", "th.sport", "th.dport")
HOOK_REASONS = {
    "xdp": "an endpoint's access list has directions; only tc has",
    "connect": "HNS judges packets, not calls",
}
HOOK = "endpoint"
LEAVE_OUT = "leave it out"


def refused(
    lists: Sequence[tuple[Chain, MatchProgram]], inventory: Inventory | None = None
) -> Iterator[Refusal]:
    """Everything in a policy that HNS cannot say. `inventory`: None where nothing says which endpoints there
    are."""
    for chain, program in lists:
        if chain.hook == HOOK:
            yield from _endpoints(chain, program, inventory)
            continue
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
        yield from _rules(chain, program)
        yield from _matches(chain, [program])


def _rules(chain: Chain, program: MatchProgram) -> Iterator[Refusal]:
    for rule in program.rules:
        for what, why, instead in _rule(rule):
            yield Refusal(rule.span or chain.span, what, why, instead)


def _matches(chain: Chain, programs: Iterable[MatchProgram]) -> Iterator[Refusal]:
    """What is refused of the matches of a chain, in any of the lists that it becomes."""
    told: set[tuple[Span, str]] = set()
    for program in programs:
        for match in program.matches:
            rule = program.rules[match.rule]
            for what, why, instead in _tests(match, ACTIONS.get(rule.verdict)):
                where = rule.span or chain.span
                if (where, what) not in told:
                    told.add((where, what))
                    yield Refusal(where, what, why, instead)
        if program.matches and _highest(program) >= LAST:
            reason = f"there are {LAST - FIRST:,} priorities for changes between allowing and blocking"
            yield Refusal(chain.span, "a list this long", reason, "put rules of one verdict together")


def _endpoints(chain: Chain, program: MatchProgram, inventory: Inventory | None) -> Iterator[Refusal]:
    if inventory is None or not any(entry.interfaces for entry in inventory.entries):
        reason = "an entry names addresses, and nothing says whose they are"
        yield Refusal(
            chain.span, "policies for labels", reason, "give `--endpoints INVENTORY`, with interfaces"
        )
        return
    known = residents(inventory, chain.selections)
    asked = Lists(program, known).subjects
    if any(one.entry.kind == HOST and one.entry.interfaces and one.selected & asked for one in known):
        reason = "an access list is an endpoint's, and the host is none"
        yield Refusal(chain.span, "judge this host", reason, "leave it out of the inventory")
    found = [*_rules(chain, program)]
    if chain.forward != STACK:
        reason = "which way packets take is Windows' affair"
        found.append(Refusal(chain.span, f"`forward {chain.forward}`", reason, "leave the line out"))
    answers = {match.rule for match in program.matches if match.get("flow.opens") == IntervalSet.of(0)}
    for number, rule in enumerate(program.rules):
        if rule.lasts == STATELESS and number not in answers:
            reason = "the switch follows every connection, so answers would not be judged"
            found.append(Refusal(rule.span or chain.span, "`state off`", reason, "write `state loose`"))
    yield from found
    if found:
        return  # lists are made of rules that can be said
    try:
        programs = [one.program for one in judged(program, known)]
    except TooLong:
        reason = f"with `pass` written out there are more than {MAX_MATCHES:,} entries"
        yield Refusal(chain.span, "tiers this large", reason, "write fewer rules that `pass`")
        return
    yield from _matches(chain, programs)


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
