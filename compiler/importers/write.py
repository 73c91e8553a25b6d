"""Imported policies as text that a person would have written, in the style of `fmt`.

Lays lines out with the formatter's own means, so what it writes is what `fmt` would make of it. Knows
declarations, policies, and how places in imported files are told; must never know a source language.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lockgate.stdlib_bpf.sets import IntervalSet

from ..source import Span
from ..syntax.docs import Break, Doc, Word
from ..syntax.layout import STEP, Item, Line, beside, run
from .model import FlatPolicy, FlatRule, Imported, Named
from .sentence import NameOf, Sentences, listing, network, port_list

OPTION_GAP = 2
TOGETHER = 5_000  # rules that share columns; an empty line stands between longer runs


def text(imported: Imported, name_of: NameOf) -> str:
    """The `.gate` file. `name_of`: names for values, those of `imported.names`."""
    lines = _comments(imported.head, 0)
    declared = run([_declaration(named) for named in imported.names], 0)
    if declared:
        lines += _apart(lines)
    for named, own in zip(imported.names, declared, strict=True):
        own[-1].comment = f"# {named.comment}" if named.comment else None
        lines += own
    if imported.tiers:
        lines += [*_apart(lines), Line(0, f"tiers {' > '.join(imported.tiers)}")]
    for policy in imported.policies:
        lines += _apart(lines)
        lines += _policy(policy, Sentences(policy.family, name_of, tuple(imported.devices)))
    return "".join(f"{line}\n" for line in beside(lines))


def _apart(lines: Sequence[Line]) -> list[Line]:
    return [Line(0)] if lines else []


def _comments(texts: Iterable[str], indent: int) -> list[Line]:
    return [Line(indent, f"# {text}".rstrip()) for text in texts]


def _no_name(kind: str, values: IntervalSet) -> None:
    return None


def _declaration(named: Named) -> Item:
    body: list[Doc] = []
    for style, values in named.by_style.items():
        body += port_list(values, _no_name) if named.kind == "ports" else network(values, style, _no_name)
    return Item("declaration", [], [Word(named.kind), Word(named.name)], [Word("="), *body])


def _policy(policy: FlatPolicy, sentences: Sentences) -> list[Line]:
    lines = _comments(policy.head, 0)
    if policy.hosts:
        head: list[Doc] = [Word(text) for text in ("policy", policy.name, "for", "hosts", "[]", "{")]
        lines += run([Item("block", [], head)], 0)[0]
        return [*lines, *_body(policy, sentences)]
    devices: list[list[Doc]] = [[Word(f'"{name}"')] for name in policy.devices]
    on = devices[0] if len(devices) == 1 else [listing(devices)]
    header: list[Doc] = [Word("policy"), Word(policy.name), Word("at", breaks=Break.IF_LONG), Word("tc")]
    lines += run([Item("block", [], [*header, Word("on"), *on, Word("{")])], 0)[0]
    return [*lines, *_body(policy, sentences)]


def _body(policy: FlatPolicy, sentences: Sentences) -> list[Line]:
    lines: list[Line] = []
    items = [Item("attribute", [[Word(t.split()[0])]], [Word(t.split()[1])]) for t, _ in policy.attributes]
    for (_, comment), own in zip(policy.attributes, run(items, STEP), strict=True):
        own[-1].comment = f"# {comment}" if comment else None
        lines += own
    lines += [Line(STEP, f"{policy.direction} {{")]
    lines += rules(policy.rules, sentences, 2 * STEP)
    return [*lines, Line(STEP, "}"), Line(0, "}")]


def rules(flat: Sequence[FlatRule], sentences: Sentences, indent: int) -> list[Line]:
    """Rules below one another, with where they come from behind each."""
    lines: list[Line] = []
    for begin in range(0, len(flat), TOGETHER):
        part = flat[begin : begin + TOGETHER]
        lines += [Line(indent)] if begin else []
        for rule, own in zip(part, run([_rule(r, sentences) for r in part], indent), strict=True):
            lines += _comments(rule.lead, indent)
            said = ": ".join(s for s in (_places(rule.origins), rule.comment) if s)
            own[-1].comment = f"# {said}" if said else None
            lines += own
    return lines


def _places(origins: Sequence[Span]) -> str:
    """`12`, or `9 > 12`: the lines of the jumps and of the rule."""
    return " > ".join(str(span.line) for span in origins)


def _rule(rule: FlatRule, sentences: Sentences) -> Item:
    action = rule.action
    options: list[Doc] = []
    if action.limit is not None:
        options += [Word("limit", breaks=Break.IF_LONG), Word(action.limit.rate)]
        if action.limit.burst is not None:
            options += [Word("burst"), Word(str(action.limit.burst))]
        options += [Word("per"), Word(action.limit.per)] if action.limit.per else []
    options += [Word("log", breaks=Break.IF_LONG)] if action.log else []
    body = sentences.docs(rule.box)
    if action.answer:
        body += [Word("with", breaks=Break.IF_LONG), Word(action.answer)]
    label: list[Doc] = [Word(f"{action.label}:")] if action.label else []
    return Item("rule", [label, [Word(action.word)]], body, options, OPTION_GAP)
