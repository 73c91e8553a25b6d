"""One rule list as chains: one for each class of packets, and those that its rules need.

Knows matches, maps and acts; must never know where packets come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from ..match.ir import Match, MatchProgram
from . import maps, words
from .classes import PacketClass
from .matches import Tests
from .rules import VERDICTS, Written


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


@dataclass(frozen=True)
class RuleList:
    """A rule list. `place`: what the names of its chains begin with; `verdicts`: the words for what its rules
    decide."""

    program: MatchProgram
    place: str
    name_set: words.NameSet
    verdicts: Mapping[str, str] = field(default_factory=lambda: VERDICTS)

    def of(self, packets: PacketClass) -> Iterator[str]:
        """The chains for a class, what is gone to before where it is gone from. Where rules lead past others,
        the list goes on in a chain of its own."""
        listed = list(self._listed(packets))
        resumed = sorted({r for one in listed if (r := one.written.rule.resume) is not None})
        name, default = self._chain(packets), self.program.default
        last = f'counter name "{self.program.name}/default" {self.verdicts[default]}'
        end = len(self.program.rules)
        for first in reversed(resumed):
            part = [one for one in listed if first <= one.written.number < end]
            yield from self._part(self._chain(packets, first), part, packets, last)
            last, end = f"goto {self._chain(packets, first)}", first
        yield from self._part(name, [one for one in listed if one.written.number < end], packets, last)

    def _chain(self, packets: PacketClass, first: int | None = None) -> str:
        """The chain for packets of a class, or where it goes on with the rule of this number."""
        return f"{self.place}.{packets.name}" + (f".from-{first}" if first is not None else "")

    def _part(self, name: str, listed: Sequence[_InClass], packets: PacketClass, last: str) -> Iterator[str]:
        lines = list[str]()
        found = {run.first: run for run in maps.runs([one.mappable() for one in listed], packets)}
        at = 0
        while at < len(listed):
            if (run := found.get(at)) is not None:
                before, own = self._mapped(run, listed[at : at + len(run.values)], packets)
                at += len(run.values)
            else:
                before, own = self._rule(listed[at].written, packets, listed[at].texts)
                own.insert(0, f"# {listed[at].written.rule.label}")
                at += 1
            yield from before
            lines += own
        yield from chain(name, [*lines, last])

    def _listed(self, packets: PacketClass) -> Iterator[_InClass]:
        """Rules that packets of a class can meet."""
        tests = Tests(self.program, self.name_set)
        for number, matches in groupby(self.program.matches, key=lambda match: match.rule):
            asked = [(match, text) for match in matches for text in tests.of(match, packets)]
            if asked:
                texts = [text for _, text in asked]
                yield _InClass(Written(self.program, number), tuple(match for match, _ in asked), texts)

    def _then(self, written: Written, packets: PacketClass) -> str:
        """Where a packet goes that a rule takes: "" for on to the next rule."""
        rule = written.rule
        if rule.resume is not None:
            return f"goto {self._chain(packets, rule.resume)}"
        return "" if rule.passing else self.verdicts.get(rule.verdict, "")

    def _mapped(
        self, run: maps.Run, listed: Sequence[_InClass], packets: PacketClass
    ) -> tuple[list[str], list[str]]:
        """Rules whose acts stand in a chain each, and the line that chooses one."""
        before, elements, word = list[str](), list[str](), packets.words[run.field]
        for one, values in zip(listed, run.values, strict=True):
            place = f"{self._chain(packets)}.{one.written.name}.act"
            acts = " ".join(one.written.acts(packets.name, self._then(one.written, packets)))
            before += chain(place, [f"# {one.written.rule.label}", acts])
            elements += [f"{text} : goto {place}" for text in word.elements(values)]
        tests = Tests(self.program, self.name_set)
        (common,) = tests.of(maps.without(listed[0].matches[0], run.field), packets)
        return before, [f"{common} {word.expression} vmap {{ {', '.join(elements)} }}".strip()]

    def _rule(self, written: Written, packets: PacketClass, texts: list[str]) -> tuple[list[str], list[str]]:
        """Chains that a rule needs, and its lines. A rule that lets packets go on is tried once for each, so
        its alternatives stand in a chain of their own."""
        rule, place = written.rule, f"{self._chain(packets)}.{written.name}"
        on = rule.passing and rule.resume is None
        acts = list(written.acts(packets.name, self._then(written, packets)))
        before: list[str] = []
        if rule.sample > 1 or (on and len(texts) > 1):
            sampled = [f"numgen inc mod {rule.sample} 0 {written.log()}"] if rule.sample > 1 else []
            before += chain(f"{place}.do", [*sampled, " ".join(acts)])
            acts = [f"goto {place}.do" if len(texts) > 1 or not on else f"jump {place}.do"]
        limited = written.limited(packets.name)
        lines = [" ".join(part for part in (text, limited, *acts) if part) for text in texts]
        if on and len(texts) > 1:
            before += chain(place, lines)
            lines = [f"jump {place}"]
        return before, lines


def chain(name: str, lines: Iterable[str]) -> list[str]:
    """A chain's lines."""
    return ["", f"chain {name} {{", *(f"  {line}" for line in lines), "}"]
