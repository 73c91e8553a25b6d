"""What nftables cannot say, or not exactly: found before anything is written.

Knows the policy and the match IR. What is said differently on purpose is no refusal but a row of
`exceptions`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lockgate.stdlib_bpf import nft
from lockgate.stdlib_bpf.inventory import Inventory
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state.devices import is_pattern
from lockgate.stdlib_bpf.state.flows import STACK, STATELESS

from ..match.ir import Match, MatchProgram, RuleInfo
from ..otherwise import Refusal
from ..policy.model import Chain
from ..policy.targets import namespace_of
from ..source import Span
from .rules import PERIODS, VERDICTS
from .ruleset import HOOKS

LENGTHS = IntervalSet.of((0, 0x5FF))  # what is no EtherType but the length of an IEEE 802.3 frame
WAYS = ("", "egress")
HOOK = "endpoint"
# What is not there where packets are routed: link headers, fragments, and at output where they arrived
UNSEEN = ("eth.src", "eth.dst", "vlan.", "arp.", "ip.fragment", "ip6.frag-header", "meta.iif", "meta.length")
USE_BPF = "build it for bpf"


def refused(
    lists: Sequence[tuple[Chain, MatchProgram]], inventory: Inventory | None = None
) -> Iterator[Refusal]:
    """Everything in a policy that nftables cannot say. `inventory`: None where nothing says which endpoints
    there are."""
    spaces = {namespace_of(place) for place in places([chain for chain, _ in lists], inventory)}
    for chain, program in lists:
        if chain.hook != HOOK and (chain.hook, chain.direction) not in HOOKS:
            reason = "nftables sees the packets of a connection, and cannot make the call fail"
            yield Refusal(chain.span, f"judge at {chain.hook}", reason, USE_BPF)
            continue
        if len(spaces) > 1:
            reason = "a table is in one network namespace"
            yield Refusal(chain.span, "devices in several", reason, "write a file for each namespace")
        yield from _endpoints(chain, program, inventory) if chain.hook == HOOK else _chain(chain)
        if len(nft.PREFIX + chain.name) > nft.MAX_NAME:
            yield Refusal(chain.span, "a name this long", f"{nft.MAX_NAME} bytes are the limit", "shorten it")
        for rule in program.rules:
            yield from _rule(rule, rule.span or chain.span)
        yield from _tests(chain, program)


def places(chains: Iterable[Chain], inventory: Inventory | None) -> Iterator[str]:
    """Interfaces where packets are judged, as DEVICE or NETNS/DEVICE."""
    for chain in chains:
        yield from chain.targets
    for entry in inventory.entries if inventory is not None else ():
        yield from entry.interfaces


def _endpoints(chain: Chain, program: MatchProgram, inventory: Inventory | None) -> Iterator[Refusal]:
    if inventory is None or not any(entry.interfaces for entry in inventory.entries):
        reason = "a rule of nftables names interfaces and addresses, and nothing says whose they are"
        yield Refusal(
            chain.span, "policies for labels", reason, "give `--endpoints INVENTORY`, with interfaces"
        )
    if chain.forward != STACK:
        reason = "packets take the way through the host's stack"
        yield Refusal(chain.span, f"`forward {chain.forward}`", reason, "leave the line out")
    answers = {match.rule for match in program.matches if match.get("flow.opens") == IntervalSet.of(0)}
    for number, rule in enumerate(program.rules):
        if rule.lasts == STATELESS and number not in answers:
            reason = "the kernel follows every connection, so answers would not be judged"
            yield Refusal(rule.span or chain.span, "`state off`", reason, "write `state loose`")


def _chain(chain: Chain) -> Iterator[Refusal]:
    for target in chain.targets:
        if is_pattern(target):
            reason = "this kernel's nftables names each device"
            yield Refusal(chain.span, f"find devices by the pattern `{target}`", reason, "name the devices")
    if chain.fragments == "track":
        reason = "later fragments have no ports, and nothing here remembers those of the first"
        yield Refusal(chain.span, "`fragments track`", reason, "write `fragments drop` or `first-only`")
    if chain.default not in VERDICTS:
        span = chain.default_span or chain.span
        yield Refusal(span, f"`default {chain.default}`", "it cannot answer exactly", "write `default drop`")


def _rule(rule: RuleInfo, span: Span) -> Iterator[Refusal]:
    limit, does = rule.limit, rule.effects
    if rule.verdict == "reject":
        reason = "its answers are others: to whom, by which ICMP code and how much of the packet they quote"
        yield Refusal(span, "`reject`", reason, "write `drop`")
    if does.into and does.how not in WAYS:
        reason = "a packet or copy can only be sent out of a device here"
        yield Refusal(span, f"`as {does.how}`", reason, "write `as egress`, or build it for bpf")
    if limit is None:
        return
    if limit.unit != "packets":
        reason = "bytes would be counted without the link header"
        yield Refusal(span, "a limit in bits a second", reason, "limit packets a second")
    elif limit.period_ns not in PERIODS:
        yield Refusal(span, "this rate", "its time is no second, minute, hour or day", "write another unit")
    if limit.per == "flow":
        reason = "packets without ports would have no bucket"
        yield Refusal(span, "`per flow`", reason, "write `per source` or `per destination`")


def _tests(chain: Chain, program: MatchProgram) -> Iterator[Refusal]:
    told: set[tuple[int, str]] = set()
    for match in program.matches:
        for what, why in _unsaid(chain, program, match):
            if (match.rule, what) not in told:
                told.add((match.rule, what))
                yield Refusal(program.rules[match.rule].span or chain.span, what, why, USE_BPF)


def _unsaid(chain: Chain, program: MatchProgram, match: Match) -> Iterator[tuple[str, str]]:
    earlier = program.rules[: match.rule]
    for name, values in match.tests:
        if name in ("ip6.auth", "ip6.mobility") and 0 not in values:
            yield f"a test of `{name}`", "nftables does not look behind this header"
        if name == "eth.type" and values.overlaps(LENGTHS) and not LENGTHS.issubset(values):
            yield "a test of EtherTypes below 0x600", "these are lengths, for which the kernel has one number"
        if chain.hook == HOOK and name.startswith(UNSEEN):
            yield f"a test of `{name}` at an endpoint", "connections are followed where it is not seen"
        if name == "meta.iif" and chain.direction == "egress":
            yield "a test of `meta.iif` at egress", "where a packet arrived is not known there"
        if name == "meta.mark" and any(rule.effects.mark for rule in earlier):
            yield "a test of `meta.mark` behind a rule that sets it", "it would see the new mark"
        if name == "ip.dscp" and any(rule.effects.dscp is not None for rule in earlier):
            yield "a test of `ip.dscp` behind a rule that rewrites it", "it would see the new DSCP"
    rule = program.rules[match.rule]
    if rule.verdict == "mirror" and any(r.effects.dscp is not None for r in (*earlier, rule)):
        yield "a copy of a packet whose DSCP a rule rewrites", "the copy would have the new DSCP"
