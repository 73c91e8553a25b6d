"""The line `tiers A > B > C`: the order in which policies for endpoints are asked.

Policies at an interface or cgroup have no tier, so here the line is only checked. Knows what may stand in
it; must never know a policy.
"""

from __future__ import annotations

from .. import errors
from ..diagnostics import Sink
from ..source import Span
from ..syntax import tree as t
from .imports import Program

ATTRIBUTES = ("default", "owner")


def check(program: Program, sink: Sink) -> None:
    """Complain about a second line in all files, about a tier named twice, and about what does not belong."""
    lines = [d for module in program.modules for d in module.decls if isinstance(d, t.Tiers)]
    for line in lines[1:]:
        sink.add(errors.Repeated("`tiers`", line.span, lines[0].span).diagnostic())
    for line in lines:
        seen: dict[str, Span] = {}
        for name in line.names:
            if name.text in seen:
                sink.add(errors.DuplicateName(name.text, name.span, seen[name.text]).diagnostic())
            seen.setdefault(name.text, name.span)
        keys: dict[str, Span] = {}
        for item in line.attributes:
            if item.key not in ATTRIBUTES:
                sink.add(errors.MisplacedAttribute(item.key, item.span, "tiers").diagnostic())
            elif item.key in keys:
                sink.add(errors.Repeated(f"`{item.key}`", item.span, keys[item.key]).diagnostic())
            keys.setdefault(item.key, item.span)
