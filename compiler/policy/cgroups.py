"""The cgroups that the rules of one list ask about, and what a condition on `sock.cgroup` means among them.

The list is complete before any rule is checked: a process is at one place only, that of the deepest cgroup of
the list that it is in, so what asks for a cgroup asks for the places of others, too. Must never know which
cgroups a machine has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lockgate.stdlib_bpf.fields import BY_NAME
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state.cgroups import ROOT, normal, place, problem, within

from ..syntax import tree as t

FIELD = BY_NAME["sock.cgroup"]


@dataclass(frozen=True)
class Cgroups:
    """`paths`: as in `model.Chain`. `alone`: a condition describes one process, which is in the cgroup that
    it names and in none below that one."""

    paths: tuple[str, ...] = ()
    alone: bool = False

    @classmethod
    def asked(cls, rules: Iterable[t.Rule], besides: Iterable[str] = ()) -> Cgroups:
        """Those that some rules name, and paths `besides`; what is no path of a cgroup is passed over."""
        conditions = (part.condition for rule in rules for part in rule.parts if isinstance(part, t.Where))
        texts = (
            value.low.text
            for condition in conditions
            for compare in _compares(condition)
            if compare.field.text == FIELD.name
            for value in compare.values
            if isinstance(value.low, t.Text)
        )
        found = {normal(text) for text in texts if problem(text) is None}
        return cls(tuple(sorted({*found, *besides} - {ROOT})))

    def values(self, path: str, wanted: bool) -> IntervalSet:
        """The places of processes that may be in a cgroup, or in one below it; where that is not `wanted`, of
        those that surely are. Both are the same for a path of the list: another one shares the place of the
        nearest above it."""
        here = IntervalSet.of(place(self.paths, path))
        if wanted and self.alone:
            return here
        if path == ROOT:
            return FIELD.full
        below = IntervalSet.of(*within(self.paths, path))
        return here | below if wanted else below


def _compares(node: t.Condition) -> Iterator[t.Compare]:
    match node:
        case t.Compare():
            yield node
        case t.Inverse(_, operand):
            yield from _compares(operand)
        case t.AllOf(_, items) | t.AnyOf(_, items):
            for item in items:
                yield from _compares(item)
