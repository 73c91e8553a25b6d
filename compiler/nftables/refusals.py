"""What nftables cannot say, or not exactly: found before anything is written.

Knows the policy and the match IR. What is said differently on purpose is no refusal but a row of
`exceptions`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lockgate.stdlib_bpf import nft
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state.devices import is_pattern

from ..match.ir import Match, MatchProgram, RuleInfo
from ..otherwise import Refusal
from ..policy.model import Chain
from ..policy.targets import namespace_of
from ..source import Span
from .rules import PERIODS, VERDICTS
from .ruleset import HOOKS

LENGTHS = IntervalSet.of((0, 0x5FF))  # what is no EtherType but the length of an IEEE 802.3 frame
WAYS = ("", "egress")
USE_BPF = "build it for bpf"


def refused(lists: Sequence[tuple[Chain, MatchProgram]]) -> Iterator[Refusal]:
    """Everything in a policy that nftables cannot say."""
    if not lists:
        return
    first = lists[0][0]
    for chain, program in lists:
        if (chain.hook, chain.direction) not in HOOKS:
            yield Refusal(chain.span, f"judge at {chain.hook}", HOOK_REASONS[chain.hook], USE_BPF)
            continue
        if {namespace_of(t) for t in chain.targets} != {namespace_of(t) for t in first.targets}:
            reason = "a table is in one network namespace"
            yield Refusal(chain.span, "devices in several", reason, "write a file for each namespace")
        yield from _chain(chain)
        for rule in program.rules:
            yield from _rule(rule, rule.span or chain.span)
        yield from _tests(chain, program)


HOOK_REASONS = {
    "connect": "nftables sees the packets of a connection, and cannot make the call fail",
    "endpoint": "where endpoints are is known to the program alone",
}


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
    if len(nft.PREFIX + chain.name) > nft.MAX_NAME:
        yield Refusal(chain.span, "a name this long", f"{nft.MAX_NAME} bytes are the limit", "shorten it")


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
        if name == "meta.iif" and chain.direction == "egress":
            yield "a test of `meta.iif` at egress", "where a packet arrived is not known there"
        if name == "meta.mark" and any(rule.effects.mark for rule in earlier):
            yield "a test of `meta.mark` behind a rule that sets it", "it would see the new mark"
        if name == "ip.dscp" and any(rule.effects.dscp is not None for rule in earlier):
            yield "a test of `ip.dscp` behind a rule that rewrites it", "it would see the new DSCP"
    rule = program.rules[match.rule]
    if rule.verdict == "mirror" and any(r.effects.dscp is not None for r in (*earlier, rule)):
        yield "a copy of a packet whose DSCP a rule rewrites", "the copy would have the new DSCP"
