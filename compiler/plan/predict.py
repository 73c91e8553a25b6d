"""What known packets cost in a plan: those that were walked through it, node by node.

`cost` guesses which way packets go; here each packet's way is known, so what is added up is what it meets:
decoding, tests, lookups, the deciding rule's traces, and the branches that a processor foresees badly because
packets part there. Nanoseconds of the reference machine, beyond a program that answers at once. Knows
neither packets nor kernels; `benchmarks/cost_prediction.py` holds it against measurements.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..match.ir import RuleInfo
from .cost import latencies
from .ir import DEFAULT, Branch, Classify, InTable, Leaf, Node, Pass, Plan, Tag, successors

# Handing over, headers and their checks, one counter.
DECODE_NS = {"xdp": 4.5, "tc": 5.5, "connect": 12.0, "endpoint": 5.5}
TEST_NS = 0.45  # of a comparison that was foreseen rightly
MISSED_NS = 6.0  # more of a branch that was not
LENGTH_NS = 5.0  # to ask for the length of a frame that may lie in several buffers
NAMED_NS = 2.0  # of a second counter
EVENT_NS = 70.0  # of an event; nearly none where few of many packets leave one
DSCP_NS = {"xdp": 2.0, "tc": 38.0, "connect": 0.0, "endpoint": 0.0}
COPY_NS = 320.0  # of a copy of a packet
REDIRECT_NS = 4.0
CALL_NS = 9.0  # of a function of the program; most of it is the return that mitigations make slow


@dataclass(frozen=True)
class Predicted:
    """Mean ns of a packet: `ns` in all, of which `decode_ns` before any rule; `rules`: by the number of the
    rule, or DEFAULT, what serves it alone; `shared`: by the name of a classifier or tags, or "" for tests
    that serve several rules. The parts add up to `ns`."""

    ns: float
    decode_ns: float
    rules: dict[int, float]
    shared: dict[str, float]


def predict(plan: Plan, ways: Sequence[Sequence[int]]) -> Predicted:
    """What packets cost that meet these nodes of a verified plan, in mixed order. ValueError for none."""
    if not ways:
        raise ValueError("no packets")
    visits: Counter[int] = Counter()
    taken: Counter[tuple[int, int]] = Counter()
    for way in ways:
        visits.update(way)
        taken.update(pairwise(way))
    ns = [_ns(node, latency) for node, latency in zip(plan.nodes, latencies(plan), strict=True)]
    rules: defaultdict[int, float] = defaultdict(float)
    shared: defaultdict[str, float] = defaultdict(float)
    for at, count in sorted(visits.items()):
        node = plan.nodes[at]
        missed = min(count - taken[at, way] for way in successors(node)) if isinstance(node, Branch) else 0
        spent = (count * (ns[at] + _traces(plan, node)) + missed * MISSED_NS) / len(ways)
        if isinstance(node, Classify):
            shared[node.classifier] += spent
        elif isinstance(node, Tag):
            shared[node.tags] += spent
        elif node.rule is None:
            shared[""] += spent
        else:
            rules[node.rule] += spent
    if plan.parts:  # decoder and epilogue are called, too
        shared[""] += CALL_NS * sum(2 + len(_parts(plan, way)) for way in ways) / len(ways)
    decode = DECODE_NS[plan.hook] + LENGTH_NS * (plan.hook == "xdp" and _asks_length(plan))
    return Predicted(decode + sum(rules.values()) + sum(shared.values()), decode, dict(rules), dict(shared))


def _asks_length(plan: Plan) -> bool:
    """Whether some rule needs to know how long the whole frame is."""
    tested = any(isinstance(node, Branch) and node.test.field == "meta.length" for node in plan.nodes)
    limits = (rule.limit for rule in plan.rules if rule.limit is not None)
    return tested or any(rule.sample for rule in plan.rules) or any(one.unit == "bytes" for one in limits)


def _parts(plan: Plan, way: Sequence[int]) -> set[int]:
    """Parts that a way goes through; leaves are in all of them."""
    return {bisect_right(plan.parts, at) for at in way if not isinstance(plan.nodes[at], Leaf)}


def _ns(node: Node, latency: float) -> float:
    compares = isinstance(node, Branch) and not isinstance(node.test, InTable)
    return TEST_NS if compares else latency


def _traces(plan: Plan, node: Node) -> float:
    """What a rule that was met leaves and does."""
    if not isinstance(node, Leaf | Pass) or node.rule == DEFAULT:
        return 0.0
    rule: RuleInfo = plan.rules[node.rule]
    ns = NAMED_NS * (rule.count is not None) + DSCP_NS[plan.hook] * (rule.effects.dscp is not None)
    ns += EVENT_NS / rule.sample if rule.sample else 0.0
    if rule.effects.into:
        ns += COPY_NS if rule.passing else REDIRECT_NS
    return ns
