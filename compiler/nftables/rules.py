"""What a rule does, in nft's words: limits, counters, logs, effects, verdicts.

Knows the rules of the match IR; must never know how a match is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lockgate.stdlib_bpf import nft
from lockgate.stdlib_bpf.effects import Effects
from lockgate.stdlib_bpf.state.limits import KEYS, SECOND_NS, Limit

from ..match.ir import MatchProgram, RuleInfo
from .words import value_text

PERIODS = {SECOND_NS: "second", 60 * SECOND_NS: "minute", 3600 * SECOND_NS: "hour", 86400 * SECOND_NS: "day"}
VERDICTS = {"allow": "accept", "pass": "accept", "drop": "drop"}
FAMILIES = {"ip4": ("ip", 32), "ip6": ("ip6", 128)}  # by the beginning of a class's name
MAX_PREFIX = 127  # of a line in the log, NF_LOG_PREFIXLEN less its end


@dataclass(frozen=True)
class Written:
    """One rule of a list, by number."""

    program: MatchProgram
    number: int

    @property
    def rule(self) -> RuleInfo:
        """The rule."""
        return self.program.rules[self.number]

    @property
    def name(self) -> str:
        """What it is called in the table: by its own name, or by number."""
        return nft.safe(self.rule.name) if self.rule.name else f"rule-{self.number}"

    def counter(self) -> nft.Counter:
        """Whose its counter is."""
        rule = self.rule
        return nft.Counter(self.program.name, "rule", rule.label, rule.verdict, rule.file, rule.line)

    def limited(self, packets: str) -> str:
        """The test of its limit, "" without one, for packets of a class."""
        limit = self.rule.limit
        if limit is None:
            return ""
        if limit.per is None:
            return f'limit name "{self.program.name}/{self.name}"'
        word, width = FAMILIES[packets[:3]]
        side = "saddr" if limit.per == "source" else "daddr"
        key = f"{word} {side}{mask(word, width, limit)}"
        return f"update @{self.program.name}/{self.name}-{word} {{ {key} {rate(limit)} }}"

    def acts(self, packets: str, then: str) -> Iterator[str]:
        """Statements in their order, last where the packet goes: `then`, "" for on to the next rule."""
        rule = self.rule
        yield f'counter name "{self.program.name}/{self.name}"'
        if rule.count is not None:
            yield f'counter name "{self.program.name}/count-{nft.safe(rule.count)}"'
        if rule.sample == 1:
            yield self.log()
        yield from effects(rule.effects, packets)
        if rule.verdict == "mirror":
            yield from (f'dup to "{device}"' for device in rule.effects.into)
        elif rule.verdict == "redirect":
            yield f'fwd to "{rule.effects.into[0]}"'
        elif then:
            yield then

    def log(self) -> str:
        """The statement that writes a line of the log."""
        said = f"lockgate {self.program.name} {self.rule.label}: ".replace('"', "'")
        return f'log prefix "{said.encode()[:MAX_PREFIX].decode(errors="ignore")}"'


def effects(does: Effects, packets: str) -> Iterator[str]:
    """Mark and DSCP."""
    if does.mark is not None:
        value, mask_ = does.mark
        kept = ~mask_ & 0xFFFFFFFF
        yield f"meta mark set meta mark & {kept:#x} | {value:#x}" if kept else f"meta mark set {value:#x}"
    if does.dscp is not None:
        yield f"{FAMILIES[packets[:3]][0]} dscp set {does.dscp}"


def mask(word: str, width: int, limit: Limit) -> str:
    """What cuts a limit's key."""
    bits = limit.v4_bits if word == "ip" else limit.v6_bits
    if bits == width:
        return ""
    value = ((1 << bits) - 1) << (width - bits)
    return f" & {value_text('ip4' if word == 'ip' else 'ip6', value)}"


def rate(limit: Limit) -> str:
    """The rate as nft writes it."""
    return f"limit rate {limit.count}/{PERIODS[limit.period_ns]} burst {limit.burst} packets"


def state(written: Written) -> Iterator[str]:
    """Declarations of what a rule's limit keeps. A bucket that nobody asks is full by the time that its entry
    ends."""
    limit, place = written.rule.limit, f"{written.program.name}/{written.name}"
    if limit is None:
        return
    if limit.per is None:
        yield f"limit {place} {{ {rate(limit).removeprefix('limit ')}; }}"
        return
    full_s = -(-limit.burst * limit.period_ns // limit.count // SECOND_NS) + 1
    for word, kind in (("ip", "ipv4_addr"), ("ip6", "ipv6_addr")):
        yield f"set {place}-{word} {{ type {kind}; flags dynamic, timeout; timeout {full_s}s; size {KEYS}; }}"


def declarations(program: MatchProgram, own: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """Counters of a list, and what its limits keep. `own`: counters besides those of rules, kind → (label,
    verdict)."""
    rules = [Written(program, number) for number in range(len(program.rules))]
    found = [(kind, nft.Counter(program.name, kind, *said)) for kind, said in own.items()]
    found += [(written.name, written.counter()) for written in rules]
    named = sorted({rule.count for rule in program.rules if rule.count is not None})
    found += [(f"count-{nft.safe(n)}", nft.Counter(program.name, "count", n, "")) for n in named]
    for place, counter in found:
        comment = counter.comment.replace('"', "'")
        yield f'counter {program.name}/{place} {{ comment "{comment}"; }}'
    for written in rules:
        yield from state(written)
