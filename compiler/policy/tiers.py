"""The line `tiers A > B > C`: the order in which policies for endpoints are asked.

Policies at an interface or cgroup have no tier. Knows what may stand in the line, and which tier a policy is
in; must never know its rules.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import errors
from ..diagnostics import Sink
from ..source import Span
from ..syntax import tree as t
from .imports import Program

ATTRIBUTES = ("default", "owner")


@dataclass(frozen=True)
class Tiers:
    """`names` in order, with their places; `line`: None where no file has one, and policies are in the one
    tier "". `default`: of every tier whose policies say none."""

    names: dict[str, Span]
    line: t.Tiers | None = None
    default: t.Name | None = None

    @property
    def ordered(self) -> tuple[str, ...]:
        """All tiers, the first that is asked first."""
        return tuple(self.names) if self.line is not None else ("",)

    def of(self, policy: t.Policy, said: t.Attribute | None, sink: Sink) -> str | None:
        """The tier that a policy is in; None after a complaint."""
        known = tuple((name, span) for name, span in self.names.items())
        if said is None:
            if self.line is None:
                return ""
            sink.add(errors.NoTier(policy.name.text, policy.name.span, known).diagnostic())
        elif isinstance(said.value, t.Name):
            if said.value.text in self.names:
                return said.value.text
            sink.add(errors.UnknownName("tier", said.value.text, said.value.span, known).diagnostic())
        return None


def check(program: Program, sink: Sink) -> Tiers:
    """The tiers of all files. Complains about a second line, about a tier named twice, and about what does
    not belong."""
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
    if not lines:
        return Tiers({})
    names = {name.text: name.span for name in reversed(lines[0].names)}
    defaults = [a.value for a in lines[0].attributes if a.key == "default" and isinstance(a.value, t.Name)]
    return Tiers(dict(reversed(names.items())), lines[0], defaults[0] if defaults else None)
