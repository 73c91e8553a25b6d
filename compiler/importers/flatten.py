"""Chains that call one another, as one list in which the first match decides.

A jump becomes the rules of its chain under its own condition; what they leave undecided goes on behind it, as
it does here. What returns from the middle of a chain skips rules. Where "all but these" is one condition, the
skipped rules get it; else what comes behind the chain is written out for the returning packets, before the
rules that they skip. Both are exact. Knows boxes and chains; must never know a source language.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from .. import errors
from ..diagnostics import Sink
from ..source import Span
from .model import ANYTHING, Action, Box, FlatRule, meet, without

LEAST, TIMES = 10_000, 20  # how many rules may come out: at least, and for each that went in
LOOKS = 50  # at rules, for each that may come out
DEPTH = 150  # of jumps


@dataclass(frozen=True)
class Jump:
    """Go on in a chain; `back`: and come back behind this rule (a jump), else behind the rule that led to
    this chain (a goto)."""

    chain: str
    back: bool = True


@dataclass(frozen=True)
class Return:
    """Go on behind the rule that led here."""


@dataclass(frozen=True)
class ChainRule:
    """`boxes`: disjoint alternatives. `then`: an action of the language, which decides unless its word is
    `continue`; or a way to go."""

    boxes: tuple[Box, ...]
    then: Action | Jump | Return
    span: Span
    comment: str = ""
    lead: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Rest:
    """Where packets go that a chain leaves undecided: a chain from a rule on, and then further."""

    chain: str
    at: int
    via: tuple[Span, ...]
    outer: _Rest | None


def _names(rest: _Rest | None) -> list[str]:
    """The chains that packets are in which go there."""
    found: list[str] = []
    while rest is not None:
        found.append(rest.chain)
        rest = rest.outer
    return found[::-1]


class TooLargeError(Exception):
    """More rules than anybody wants; `span` is the rule that was one too many."""

    def __init__(self, span: Span) -> None:
        self.span = span
        super().__init__(span.label)


class Flattener:
    """Flattens chains. `end`: what decides where all chains are through; `written`: it becomes a last rule,
    for the result has another default. `base`: what holds of every packet that comes there; `whole`: none
    is a fragment."""

    def __init__(
        self,
        chains: Mapping[str, list[ChainRule]],
        sink: Sink,
        end: Action,
        end_span: Span,
        written: bool = False,
        base: Box = ANYTHING,
        whole: bool = False,
    ) -> None:
        self.chains, self.sink, self.end, self.end_span = chains, sink, end, end_span
        self.written, self.base, self.whole = written, base, whole
        self.out: list[FlatRule] = []
        self.limit = max(LEAST, TIMES * sum(map(len, chains.values())))
        self._looks = LOOKS * self.limit
        self._limited: set[int] = set()
        self._open: list[str] = []
        self.said: list[str] = []  # comments of rules that lead elsewhere, for the next rule

    def flatten(self, start: str, within: Box = ANYTHING) -> list[FlatRule]:
        """The rules for packets of `within` that come to a chain. Findings for circles, unknown chains and
        what cannot be copied go to the sink; the result is then of no use."""
        try:
            if not self._walk(start, 0, within, (), None) and self.written:
                self._finish(within, ())
        except TooLargeError as error:
            self.sink.add(errors.ImportTooLarge(error.span, self.limit).diagnostic())
        except RecursionError:
            self.sink.add(errors.ImportTooLarge(self.end_span, self.limit).diagnostic())
        return self.out

    def _walk(self, name: str, at: int, within: Box, via: tuple[Span, ...], rest: _Rest | None) -> bool:
        """Judge packets of `within` by a chain from a rule on. What it leaves goes to the caller's next rule;
        True when it leaves nothing."""
        rules = self.chains[name]
        everything = True  # whether those that this chain is done with are judged, too
        for index in range(at, len(rules)):
            rule = rules[index]
            self._looks -= 1
            if self._looks < 0:
                raise TooLargeError(rule.span)
            last = index + 1 == len(rules)
            for box in rule.boxes:
                both = meet(within, box)
                if both is None:
                    continue
                whole = both == within
                if isinstance(rule.then, Action):
                    self._emit(rule, both, via)
                    if whole and rule.then.word != "continue" and rule.then.limit is None:
                        return everything
                    continue
                self._say(rule)
                if isinstance(rule.then, Jump):
                    inner = (*via, rule.span)
                    after = _Rest(name, index + 1, via, rest) if rule.then.back else rest
                    if self._enter(rule, both, inner, after):
                        if whole:
                            return everything
                        continue
                    if rule.then.back:
                        continue
                if whole:  # a return, or a goto that came back: all packets leave this chain
                    return False
                if last:
                    continue
                narrowed = without(within, both, self.base, self.whole)
                if narrowed is None:
                    self._follow(both, rest, (*via, rule.span))
                else:
                    within, everything = narrowed, False
        return False

    def _enter(self, rule: ChainRule, within: Box, via: tuple[Span, ...], after: _Rest | None) -> bool:
        """Go to the chain that a rule names."""
        assert isinstance(rule.then, Jump)
        target = rule.then.chain
        if target not in self.chains:
            self.sink.add(errors.MissingReference(rule.span, "chain", target).diagnostic())
            return False
        if target in self._open:
            circle = (*self._open[self._open.index(target) :], target)
            self.sink.add(errors.CircularJump(rule.span, circle).diagnostic())
            return False
        if len(self._open) >= DEPTH:
            raise TooLargeError(rule.span)
        self._open.append(target)
        try:
            return self._walk(target, 0, within, via, after)
        finally:
            self._open.pop()

    def _follow(self, within: Box, rest: _Rest | None, via: tuple[Span, ...]) -> None:
        """Write out, for some packets, all that comes behind a chain."""
        left = self._open
        try:
            while rest is not None:
                self._open = _names(rest)
                if self._walk(rest.chain, rest.at, within, via, rest.outer):
                    return
                rest = rest.outer
        finally:
            self._open = left
        self._finish(within, via)

    def _finish(self, within: Box, via: tuple[Span, ...]) -> None:
        self._add(FlatRule(within, self.end, (*via, self.end_span)))

    def _emit(self, rule: ChainRule, box: Box, via: tuple[Span, ...]) -> None:
        assert isinstance(rule.then, Action)
        if rule.then.limit is not None:
            if id(rule) in self._limited:
                self.sink.add(
                    errors.NotSayable(
                        rule.span,
                        rule.span.text,
                        "its one bucket would become several: the rule is written out more than once",
                        "give each way to this chain a chain of its own",
                    ).diagnostic()
                )
                return
            self._limited.add(id(rule))
        lead, self.said = (*self.said, *rule.lead), []
        self._add(FlatRule(box, rule.then, (*via, rule.span), rule.comment, lead))

    def _say(self, rule: ChainRule) -> None:
        """Keep the comments of a rule that decides nothing itself."""
        comment = (f"{rule.span.line}: {rule.comment}",) if rule.comment else ()
        self.said += [text for text in (*rule.lead, *comment) if text not in self.said]

    def _add(self, rule: FlatRule) -> None:
        if len(self.out) >= self.limit:
            raise TooLargeError(rule.origins[-1])
        self.out.append(rule)


def joined(rules: Iterable[FlatRule]) -> list[FlatRule]:
    """Rules in which "log, then decide" over the same packets is one rule that logs."""
    out: list[FlatRule] = []
    for rule in rules:
        before = out[-1] if out else None
        if (
            before is not None
            and before.action.word == "continue"
            and before.action.log
            and before.action.limit is None
            and rule.action.limit is None
            and rule.action.word != "continue"
            and before.box == rule.box
        ):
            action = replace(rule.action, log=True, label=before.action.label)
            comment = " · ".join(c for c in (before.comment, rule.comment) if c)
            origins = before.origins + tuple(s for s in rule.origins if s not in before.origins)
            out[-1] = FlatRule(rule.box, action, origins, comment, before.lead + rule.lead)
        else:
            out.append(rule)
    return out


def labelled(rules: Iterable[FlatRule]) -> list[FlatRule]:
    """Rules of which no two have one name."""
    out: list[FlatRule] = []
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    for rule in rules:
        label = rule.action.label
        while label and label in taken:
            numbers[rule.action.label] = numbers.get(rule.action.label, 1) + 1
            label = f"{rule.action.label}-{numbers[rule.action.label]}"
        taken.add(label)
        out.append(
            rule if label == rule.action.label else replace(rule, action=replace(rule.action, label=label))
        )
    return out
