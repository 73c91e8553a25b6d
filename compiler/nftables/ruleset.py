"""The table of a policy: counters, sets, limits, and for each rule list a chain for each class of packets.

The file is one transaction: it makes the table if there is none, takes it away, and makes it anew. Knows all
parts of this package and puts them together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from lockgate.stdlib_bpf import nft

from ..match.ir import Match, MatchProgram
from . import classes, decode, maps
from .classes import PacketClass
from .matches import Tests, live_set
from .rules import VERDICTS, Written, state

# Hook and direction → nft's hook and priority. What XDP drops, tc must not see.
HOOKS = {("xdp", ""): ("ingress", -200), ("tc", "ingress"): ("ingress", 0), ("tc", "egress"): ("egress", 0)}


@dataclass(frozen=True)
class Placed:
    """A rule list and the devices that it is for, without namespaces."""

    program: MatchProgram
    devices: tuple[str, ...]


@dataclass
class Sets:
    """Named sets of fixed contents, each once: (type, elements) → name."""

    names: dict[tuple[str, str], str] = field(default_factory=dict)

    def name(self, kind: str, elements: str) -> str:
        """The set that holds these."""
        return self.names.setdefault((kind, elements), f"set-{len(self.names) + 1}")

    def lines(self) -> Iterator[str]:
        """Their declarations."""
        for (kind, elements), name in self.names.items():
            yield f"set {name} {{ type {kind}; flags constant, interval; elements = {{ {elements} }} }}"


def write(name: str, compiler: str, netns: str, lists: Sequence[Placed]) -> str:
    """The file. `name`: of the policy; `netns`: where its devices are, "" for where it is loaded."""
    table, sets = f"{nft.FAMILY} {nft.PREFIX}{name}", Sets()
    chains = [line for placed in lists for line in _Listed(placed, sets).chains()]
    head = [f"{nft.HEAD}name {name}"]
    head += [f"{nft.HEAD}netns {netns}"] if netns else []
    out = [
        *head,
        f"# Written by lockgate {compiler}. `nft -f` loads it, or replaces it, at one instant.",
    ]
    out += [
        "# IP protocol (or length of the IP header) . length of the next header, in words . bytes too few"
    ]
    out += [*decode.tables(), f"table {table}", f"delete table {table}", f"table {table} {{"]
    declared = [line for placed in lists for line in _declarations(placed.program)]
    for line in (*declared, *_live(lists), *sets.lines(), *chains):
        out.append(f"  {line}" if line else "")
    return "\n".join([*out, "}"]) + "\n"


def _declarations(program: MatchProgram) -> Iterator[str]:
    rules = [Written(program, number) for number in range(len(program.rules))]
    own = [("default", program.default), ("malformed", "drop"), ("unread", "drop")]
    own += [("fragments", "drop")] if program.fragments == "drop" else []
    named = sorted({rule.count for rule in program.rules if rule.count is not None})
    counters = [(kind, nft.Counter(program.name, kind, kind, verdict)) for kind, verdict in own]
    counters += [(written.name, written.counter()) for written in rules]
    counters += [(f"count-{nft.safe(n)}", nft.Counter(program.name, "count", n, "")) for n in named]
    for place, counter in counters:
        comment = counter.comment.replace('"', "'")
        yield f'counter {program.name}/{place} {{ comment "{comment}"; }}'
    for written in rules:
        yield from state(written)


def _live(lists: Iterable[Placed]) -> Iterator[str]:
    for name, entries in sorted({live for placed in lists for live in placed.program.live}):
        for family, kind in (("4", "ipv4_addr"), ("6", "ipv6_addr")):
            size = 2 * entries  # the ends of a range are two elements
            yield f"set {live_set(name, family)} {{ type {kind}; flags interval, timeout; size {size}; }}"


@dataclass(frozen=True)
class _InClass:
    """A rule that packets of a class can meet: its matches, and texts of which one holds."""

    written: Written
    matches: tuple[Match, ...]
    texts: list[str]

    def mappable(self) -> Match | None:
        """Its match, where it decides by one alone and at once."""
        rule = self.written.rule
        return self.matches[0] if len(self.texts) == 1 and rule.final and rule.sample <= 1 else None


class _Listed:
    """The chains of one rule list."""

    def __init__(self, placed: Placed, sets: Sets) -> None:
        self.placed, self.program = placed, placed.program
        self.tests = Tests(self.program, sets.name)
        names = {name.partition("@")[0] for match in self.program.matches for name, _ in match.tests}
        self.asked = decode.Asked(names, self.program.fragments)

    def chains(self) -> Iterator[str]:
        """All of them, what is gone to before where it is gone from."""
        name, asked = self.program.name, self.asked
        for packets in self._classes():
            yield from self._class(packets)
        for part, lines in (
            ("whole6", decode.whole6(name)),
            ("read6", decode.read6(name, asked)),
            ("read4", decode.read4(name, asked)),
        ):
            yield from _chain(f"{name}.{part}", lines)
        hook, priority = HOOKS[self.program.hook, self.program.direction]
        devices = ", ".join(f'"{device}"' for device in self.placed.devices)
        head = f"type filter hook {hook} devices = {{ {devices} }} priority {priority}; policy accept;"
        yield from _chain(name, [head, *decode.dispatch(name, asked)])

    def _classes(self) -> Iterator[PacketClass]:
        for packets in classes.ALL:
            later = packets.known.get("ip.fragment") == classes.LATER4.known["ip.fragment"]
            if later and self.asked.fragments == "drop":
                continue
            if packets is classes.ARP and not any(name.startswith("arp.") for name in self.asked.fields):
                continue
            yield packets

    def _class(self, packets: PacketClass) -> Iterator[str]:
        name, lines = f"{self.program.name}.{packets.name}", list[str]()
        listed = list(self._listed(packets))
        found = {run.first: run for run in maps.runs([one.mappable() for one in listed], packets)}
        at = 0
        while at < len(listed):
            if (run := found.get(at)) is not None:
                before, own = self._mapped(run, listed[at : at + len(run.values)], packets)
                at += len(run.values)
            else:
                before, own = self._rule(listed[at].written, packets.name, listed[at].texts)
                own.insert(0, f"# {listed[at].written.rule.label}")
                at += 1
            yield from before
            lines += own
        default = self.program.default
        lines.append(f'counter name "{self.program.name}/default" {VERDICTS[default]}')
        yield from _chain(name, lines)

    def _listed(self, packets: PacketClass) -> Iterator[_InClass]:
        """Rules that packets of a class can meet."""
        for number, matches in groupby(self.program.matches, key=lambda match: match.rule):
            asked = [(match, text) for match in matches for text in self.tests.of(match, packets)]
            if asked:
                texts = [text for _, text in asked]
                yield _InClass(Written(self.program, number), tuple(match for match, _ in asked), texts)

    def _mapped(
        self, run: maps.Run, listed: Sequence[_InClass], packets: PacketClass
    ) -> tuple[list[str], list[str]]:
        """Rules whose acts stand in a chain each, and the line that chooses one."""
        before, elements, word = list[str](), list[str](), packets.words[run.field]
        for one, values in zip(listed, run.values, strict=True):
            place = f"{self.program.name}.{packets.name}.{one.written.name}.act"
            acts = " ".join(one.written.acts(packets.name))
            before += _chain(place, [f"# {one.written.rule.label}", acts])
            elements += [f"{text} : goto {place}" for text in word.elements(values)]
        (common,) = self.tests.of(maps.without(listed[0].matches[0], run.field), packets)
        return before, [f"{common} {word.expression} vmap {{ {', '.join(elements)} }}".strip()]

    def _rule(self, written: Written, packets: str, texts: list[str]) -> tuple[list[str], list[str]]:
        """Chains that a rule needs, and its lines. A rule that lets packets go on is tried once for each, so
        its alternatives stand in a chain of their own."""
        rule, place = written.rule, f"{self.program.name}.{packets}.{written.name}"
        acts = list(written.acts(packets))
        before: list[str] = []
        if rule.sample > 1 or (rule.passing and len(texts) > 1):
            sampled = [f"numgen inc mod {rule.sample} 0 {written.log()}"] if rule.sample > 1 else []
            before += _chain(f"{place}.do", [*sampled, " ".join(acts)])
            acts = [f"goto {place}.do" if len(texts) > 1 or not rule.passing else f"jump {place}.do"]
        lines = [" ".join(part for part in (text, written.limited(packets), *acts) if part) for text in texts]
        if rule.passing and len(texts) > 1:
            before += _chain(place, lines)
            lines = [f"jump {place}"]
        return before, lines


def _chain(name: str, lines: Iterable[str]) -> list[str]:
    return ["", f"chain {name} {{", *(f"  {line}" for line in lines), "}"]
