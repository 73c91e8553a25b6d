"""Match programs as text and back: `read(write(program)) == program`, spans of the rules aside.

    matches "edge" at xdp default pass
    live "ban" 1000
    device "eth1"
    cgroup "/shop"
    selection "[app=shop]"
    rule 0 "block" drop "edge.gate" 4 3 name "block" count "hits" log
    match 0 from 0 when eth.type {0x0800} ip4.src {10.0.0.0/8} ip4.src@ban {0}

A direction stands behind the hook: `at tc ingress`. The columns of a rule are file, line, column; behind them
may stand, in this order: name, passing [resume N], stateless or kept, count, log [sample N],
limit N packets in NS burst N [per source 24 56], into "eth1", how peer, mark 0x1 0xff, dscp 46.
"""

from __future__ import annotations

from dataclasses import replace

from lockgate.stdlib_bpf.effects import Effects, Proxy
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state.flows import AGAIN, KEPT, STACK, STATELESS
from lockgate.stdlib_bpf.state.fragments import DEFAULT_MODE
from lockgate.stdlib_bpf.state.limits import Limit

from ..irtext import Words, lines, print_set, quoted, style_of
from .ir import Match, MatchProgram, RuleInfo


def write(program: MatchProgram) -> str:
    """The program as text."""
    out = [write_head("matches", program.name, program.hook, program.direction, program.default)]
    out += write_modes(program.fragments, program.forward)
    out += [f"live {quoted(name)} {entries}" for name, entries in program.live]
    out += [f"device {quoted(name)}" for name in program.devices]
    out += [f"cgroup {quoted(path)}" for path in program.cgroups]
    out += [f"selection {quoted(text)}" for text in program.selections]
    out += [write_rule(index, rule) for index, rule in enumerate(program.rules)]
    out += [_write_match(match) for match in program.matches]
    return "\n".join(out) + "\n"


def read(text: str) -> MatchProgram:
    """The program of a text; not verified. IrSyntaxError for text that `write` would not write."""
    head: tuple[str, str, str, str] | None = None
    fragments, forward = DEFAULT_MODE, STACK
    live: list[tuple[str, int]] = []
    devices: list[str] = []
    cgroups: list[str] = []
    selections: list[str] = []
    rules: list[RuleInfo] = []
    matches: list[Match] = []
    for words in lines(text):
        match words.next():
            case "matches":
                head = read_head(words)
            case "fragments":
                fragments = words.next()
            case "forward":
                forward = words.next()
            case "live":
                live.append((words.string(), words.number()))
            case "device":
                devices.append(words.string())
            case "cgroup":
                cgroups.append(words.string())
            case "selection":
                selections.append(words.string())
            case "rule":
                rules.append(read_rule(words, len(rules)))
            case "match":
                matches.append(_read_match(words))
            case word:
                known = "matches, live, device, cgroup, selection, rule or match"
                raise words.error(f"expected {known}, found `{word}`")
        words.end()
    if head is None:
        raise Words("", 1).error("no line begins with `matches`")
    return MatchProgram(
        *head,
        rules=tuple(rules),
        matches=tuple(matches),
        live=tuple(live),
        devices=tuple(devices),
        cgroups=tuple(cgroups),
        fragments=fragments,
        forward=forward,
        selections=tuple(selections),
    )


def write_head(word: str, name: str, hook: str, direction: str, default: str) -> str:
    """The line that opens the text of either IR."""
    return f"{word} {quoted(name)} at {hook} {direction + ' ' if direction else ''}default {default}"


def write_modes(fragments: str, forward: str) -> list[str]:
    """The lines that name what is not as usual of the whole list, in either IR."""
    said = (("fragments", fragments, DEFAULT_MODE), ("forward", forward, STACK))
    return [f"{word} {mode}" for word, mode, usual in said if mode != usual]


def read_head(words: Words) -> tuple[str, str, str, str]:
    """(name, hook, direction, default) from the rest of the opening line."""
    name = words.string()
    words.expect("at")
    hook = words.next()
    direction = "" if words.peek() == "default" else words.next()
    words.expect("default")
    return name, hook, direction, words.next()


def write_rule(index: int, rule: RuleInfo) -> str:
    """A rule's line, the same in either IR."""
    out = f"rule {index} {quoted(rule.label)} {rule.verdict} {quoted(rule.file)} {rule.line} {rule.column}"
    if rule.name is not None:
        out += f" name {quoted(rule.name)}"
    if rule.passing:
        out += " passing" + ("" if rule.resume is None else f" resume {rule.resume}")
    if rule.lasts != AGAIN:
        out += f" {rule.lasts}"
    if rule.count is not None:
        out += f" count {quoted(rule.count)}"
    if rule.sample:
        out += " log" if rule.sample == 1 else f" log sample {rule.sample}"
    if rule.limit is not None:
        out += _write_limit(rule.limit)
    return out + _write_effects(rule.effects)


def read_rule(words: Words, index: int) -> RuleInfo:
    """The rest of a rule's line; its index must be `index`."""
    words.expect(str(index))
    return RuleInfo(
        label=words.string(),
        verdict=words.next(),
        file=words.string(),
        line=words.number(),
        column=words.number(),
        name=words.string() if words.take("name") else None,
        passing=words.take("passing"),
        resume=words.number() if words.take("resume") else None,
        lasts=next((word for word in (STATELESS, KEPT) if words.take(word)), AGAIN),
        count=words.string() if words.take("count") else None,
        sample=_read_sample(words),
        limit=_read_limit(words) if words.take("limit") else None,
        effects=_read_effects(words),
    )


def _read_sample(words: Words) -> int:
    if not words.take("log"):
        return 0
    return words.number() if words.take("sample") else 1


def _write_limit(limit: Limit) -> str:
    out = f" limit {limit.count} {limit.unit} in {limit.period_ns} burst {limit.burst}"
    return out if limit.per is None else f"{out} per {limit.per} {limit.v4_bits} {limit.v6_bits}"


def _read_limit(words: Words) -> Limit:
    count, unit = words.number(), words.next()
    words.expect("in")
    period_ns = words.number()
    words.expect("burst")
    limit = Limit(count, period_ns, words.number(), unit)
    if not words.take("per"):
        return limit
    return replace(limit, per=words.next(), v4_bits=words.number(), v6_bits=words.number())


def _write_effects(effects: Effects) -> str:
    out = "".join(f" into {quoted(device)}" for device in effects.into)
    if effects.how:
        out += f" how {effects.how}"
    if effects.via is not None:
        out += f" via {quoted(effects.via.name)} {effects.via.port} {quoted(effects.via.cgroup)}"
    if effects.mark is not None:
        out += f" mark {effects.mark[0]:#x} {effects.mark[1]:#x}"
    return out if effects.dscp is None else f"{out} dscp {effects.dscp}"


def _read_effects(words: Words) -> Effects:
    into: list[str] = []
    while words.take("into"):
        into.append(words.string())
    return Effects(
        into=tuple(into),
        how=words.next() if words.take("how") else "",
        via=Proxy(words.string(), words.number(), words.string()) if words.take("via") else None,
        mark=(words.number(), words.number()) if words.take("mark") else None,
        dscp=words.number() if words.take("dscp") else None,
    )


def _write_match(match: Match) -> str:
    out = [f"match {match.rule} from", *map(str, match.origins)]
    if match.tests:
        out.append("when")
    out += [f"{name} {print_set(values, style_of(name))}" for name, values in match.tests]
    return " ".join(out)


def _read_match(words: Words) -> Match:
    rule = words.number()
    words.expect("from")
    origins: list[int] = []
    while words.peek() not in (None, "when"):
        origins.append(words.number())
    tests: list[tuple[str, IntervalSet]] = []
    if words.take("when"):
        while words.peek() is not None:
            name = words.next()
            tests.append((name, words.value_set(style_of(name))))
    return Match(tuple(tests), rule, tuple(origins))
