"""What the parser leaves behind for each rule: children and offsets, nothing else.

Stands in for lark's own trees, whose general machinery costs half the time of a parse. Knows how a grammar
rule says what to keep (lark's documentation, "Tree construction"); must never know a particular rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


class Node:
    """A rule that was read. `data`: its name or alias; `children`: nodes, tokens, and None for absent
    options; offsets count characters and are None for a rule that took no text."""

    __slots__ = ("children", "data", "end_pos", "start_pos")

    def __init__(self, data: str, children: list[Any], start: int | None, end: int | None) -> None:
        self.data, self.children, self.start_pos, self.end_pos = data, children, start, end


def callbacks(rules: Iterable[Any], *, whole: bool = False) -> dict[Any, Callable[[list[Any]], Any]]:
    """For each of lark's rules, the function that makes its value from the values of its parts. `whole`: keep
    every token, also those that a tree can do without, and nothing for absent options."""
    return {rule: _callback(rule, whole) for rule in rules}


def _callback(rule: Any, whole: bool) -> Callable[[list[Any]], Any]:
    name = str(rule.alias or rule.options.template_source or rule.origin.name)
    unwrap = bool(rule.options.expand1) and not rule.alias
    plan, trailing = _whole(rule) if whole else _plan(rule)

    def make(parts: list[Any]) -> Any:
        kept: list[Any] | None = None
        for index, inline, absent in plan:
            if inline and kept is None and not absent:
                kept = parts[index].children  # a list that grows to the right is extended, not copied
                continue
            if kept is None:
                kept = []
            if absent:
                kept += [None] * absent
            if inline:
                kept += parts[index].children
            else:
                kept.append(parts[index])
        if kept is None:
            kept = []
        kept += trailing
        if unwrap and len(kept) == 1:
            return kept[0]
        start = next((p.start_pos for p in parts if p.start_pos is not None), None)
        end = next((p.end_pos for p in reversed(parts) if p.end_pos is not None), None)
        return Node(name, kept, start, end)

    return make


def _plan(rule: Any) -> tuple[list[tuple[int, bool, int]], list[None]]:
    """(index of a part to keep, whether its children take its place, absent options before it), and the
    absent options at the end."""
    flags = "".join(str(int(absent)) for absent in rule.options.empty_indices or ())
    absent = [len(ones) for ones in flags.split("0")] if flags else [0] * (len(rule.expansion) + 1)
    plan, before = [], 0
    for index, symbol in enumerate(rule.expansion):
        before += absent[index]
        if rule.options.keep_all_tokens or not (symbol.is_term and symbol.filter_out):
            plan.append((index, not symbol.is_term and symbol.name.startswith("_"), before))
            before = 0
    return plan, [None] * (before + absent[len(rule.expansion)])


def _whole(rule: Any) -> tuple[list[tuple[int, bool, int]], list[None]]:
    """As `_plan`, for all parts and no absent option."""
    return [
        (index, not symbol.is_term and symbol.name.startswith("_"), 0)
        for index, symbol in enumerate(rule.expansion)
    ], []
