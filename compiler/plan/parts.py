"""Where a plan is cut into parts, each small enough for one BPF function (ADR 0016).

A part is a run of nodes that follow one another in number; leaves belong to none, since each is a few
instructions that any part may repeat. Edges lead upward, so a walk goes through parts in their order and may
leap over some. A part is entered at its nodes that earlier parts lead to: cuts are made where those are few.
Knows about how many instructions a node becomes; what a part becomes is the affair of code generation.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from lockgate.stdlib_bpf import fields

from .ir import Admit, Branch, Classify, InTable, Leaf, Node, Pass, Plan, Tag, successors

# A jump of BPF v3 reaches 32,767 instructions, and the kernel (6.18) lets 8,192 ways of one function wait to
# be checked. Half of that leaves room for what is only estimated here.
PART_INSNS = 16_000
MAX_PARTS = 250  # BPF_MAX_SUBPROGS of the kernel is 256
CGROUP_INSNS = 7  # of each cgroup that rules ask about, where programs look who makes a call


@dataclass(frozen=True)
class Part:
    """Nodes from `first` up to `end`; `entries`: those that a walk may begin with here, ascending."""

    first: int
    end: int
    entries: tuple[int, ...]


def split(plan: Plan, most: int = PART_INSNS) -> Plan:
    """The plan with its parts, each of at most about so many instructions, or more where that would make too
    many parts; none where one function is enough."""
    sizes = [size(node, plan).insns for node in plan.nodes[: inner(plan)]]
    if sum(sizes) + CGROUP_INSNS * len(plan.cgroups) <= most:
        return plan
    most = max(most, 2 * sum(sizes) // MAX_PARTS)
    before = [0, *accumulate(sizes)]
    crossing, cuts = _crossing(plan), [0]
    while before[-1] - before[cuts[-1]] > most:
        here = before[cuts[-1]]
        least, last = (bisect_right(before, here + size) - 1 for size in (most // 2, most))
        places = range(max(least, cuts[-1] + 1), max(last, cuts[-1] + 1) + 1)
        cuts.append(min(places, key=lambda at: (crossing[at], -at)))
    return replace(plan, parts=tuple(at for at in cuts if at < len(sizes)))


def parts(plan: Plan) -> list[Part]:
    """The parts of a plan, in order."""
    if not plan.parts:
        return []
    leaves = inner(plan)
    bounds = list(pairwise([*plan.parts, leaves]))
    entries: list[set[int]] = [{0}, *(set[int]() for _ in bounds[1:])]
    for first, end in bounds:
        reached = {to for node in plan.nodes[first:end] for to in successors(node) if end <= to < leaves}
        for to in reached:
            entries[bisect_right(plan.parts, to) - 1].add(to)
    return [Part(*ends, tuple(sorted(found))) for ends, found in zip(bounds, entries, strict=True)]


def inner(plan: Plan) -> int:
    """How many nodes are no leaves; leaves come last."""
    return sum(not isinstance(node, Leaf) for node in plan.nodes)


def _crossing(plan: Plan) -> list[int]:
    """Of each inner node, and behind the last one, how many nodes from it on are reached from before it."""
    leaves = inner(plan)
    first: dict[int, int] = {}
    for at, node in enumerate(plan.nodes):
        for to in successors(node):
            if to < leaves:
                first.setdefault(to, at)
    changes = [0] * (leaves + 2)
    for to, at in first.items():
        changes[at + 1] += 1
        changes[to + 1] -= 1
    return list(accumulate(changes))[: leaves + 1]


@dataclass(frozen=True)
class Size:
    """About what a node becomes, with the leaves it leads to: instructions, and how many of them the verifier
    goes through, each as often as it does. Rather more than less: seen were two thirds."""

    insns: int
    steps: int


COMPARISON, WIDE, LOOKUP = Size(5, 10), Size(8, 14), Size(120, 400)
ADMISSION, TRACES, EVENT = Size(130, 400), Size(40, 30), Size(90, 160)
CLASSIFICATION = Size(4_000, 0)  # what the verifier does is known once the trees are built


def size(node: Node, plan: Plan) -> Size:
    """The size of a node of the plan."""
    match node:
        case Branch(InTable()) | Tag():
            return LOOKUP
        case Branch(test):
            return WIDE if fields.lookup(test.field).width_bits > 64 else COMPARISON
        case Admit():
            return ADMISSION
        case Pass(rule):
            logged = EVENT if plan.rules[rule].sample else Size(0, 0)
            return Size(TRACES.insns + logged.insns, TRACES.steps + logged.steps)
        case Classify():
            return CLASSIFICATION
    return Size(0, 0)
