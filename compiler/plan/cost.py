"""What a plan costs, predicted: for choices, for `--explain`, and for saying no before the kernel does.

Nanoseconds are those of the reference machine (`docs/internals/tables.md`) and good for comparing plans, not
as promises. Parsing the packet is not included: it is the same for every plan.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from lockgate.stdlib_bpf import classifiers, fields, tables
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.tables import Cost

from .inline import COMPARE_NS
from .ir import (
    Admit,
    Between,
    Branch,
    Classifier,
    Classify,
    InTable,
    Leaf,
    Masked,
    Node,
    Pass,
    Plan,
    Table,
    successors,
)
from .order import LIVE_SHARE, chance

# Kernel 6.18 refuses a function when more than 8,192 ways are waiting to be checked ("The sequence of 8193
# jumps is too complex"); the ways waiting are the tests passed on the way that matches nothing.
MAX_WAITING = 8_000
# A jump of BPF v3 reaches 32,767 instructions and a node takes 2.3 of them on average, up to 4.
MAX_NODES = 10_000
TESTS_OF_A_CGROUP = 3  # what one of the list takes where programs look who makes a call: 7 instructions
LIMIT_NS = 60.0  # the clock, a hash lookup, one compare-and-exchange
PASS_NS = 8.0  # counters


@dataclass(frozen=True)
class PlanCost:
    """`nodes`: tests and leaves; `worst_ns`: of the slowest way through; `expected_ns`: of typical traffic;
    `table_bytes`: memory of all tables."""

    nodes: int
    worst_ns: float
    expected_ns: float
    table_bytes: int


@dataclass(frozen=True)
class OverBudget:
    """Why a plan does not fit one BPF function: it has `nodes` where `limit` are allowed. `rules`: those that
    take the most of them, at most five, the largest first; `of`: "path" (tests one packet can meet) or
    "program" (all of them)."""

    nodes: int
    limit: int
    rules: tuple[int, ...]
    of: str


def cost(plan: Plan) -> PlanCost:
    """Predict a verified plan."""
    table_cost = _prices(plan)
    worst = [0.0] * len(plan.nodes)
    weight = [0.0] * len(plan.nodes)
    weight[0], expected = 1.0, 0.0
    for index, node in enumerate(plan.nodes):
        expected += weight[index] * _latency(node, table_cost)
        ways = successors(node)
        share = _chance(node, plan) if len(ways) == 2 else 1.0
        for at, part in zip(ways, (share, 1 - share), strict=False):
            weight[at] += weight[index] * part
    for index in reversed(range(len(plan.nodes))):
        node = plan.nodes[index]
        worst[index] = _latency(node, table_cost) + max((worst[at] for at in successors(node)), default=0.0)
    return PlanCost(len(plan.nodes), worst[0], expected, sum(c.bytes for c in table_cost.values()))


@dataclass(frozen=True)
class RuleCost:
    """What the tests that serve one rule cost a packet that meets all of them: how many, how long, and the
    tables they look into."""

    tests: int
    ns: float
    tables: tuple[str, ...]


def rule_cost(plan: Plan, rule: int) -> RuleCost:
    """The cost of one rule of a verified plan; nothing when its tests serve others, too."""
    nodes = [node for node in plan.nodes if node.rule == rule]
    tests = [node.test for node in nodes if isinstance(node, Branch)]
    looked = dict.fromkeys(test.table for test in tests if isinstance(test, InTable))
    prices = {name: price(plan.table(name)) for name in looked}
    return RuleCost(len(tests), sum(_latency(node, prices) for node in nodes), tuple(looked))


def latencies(plan: Plan) -> list[float]:
    """Predicted ns of each node of a verified plan."""
    prices = _prices(plan)
    return [_latency(node, prices) for node in plan.nodes]


def _prices(plan: Plan) -> dict[str, Cost]:
    parts: list[Table | Classifier] = [*plan.tables, *plan.classifiers]
    return {part.name: price(part) for part in parts}


def price(part: Table | Classifier) -> Cost:
    """The cost of one table or classifier of a plan."""
    if isinstance(part, Classifier):
        return classifiers.ALL[part.kind].cost(part.contents)
    return tables.ALL[part.kind].cost(part.values, part.width_bits, part.max_entries)


def asking(plan: Plan, table: str) -> list[int]:
    """The rules whose tests look into a table, ascending; none where a test serves many."""
    found = {
        node.rule
        for node in plan.nodes
        if isinstance(node, Branch) and isinstance(node.test, InTable) and node.test.table == table
    }
    return sorted(rule for rule in found if rule is not None)


def over_budget(plan: Plan) -> OverBudget | None:
    """Facts for the error when the plan is too large for one BPF function, None when it fits."""
    branches = [node for node in plan.nodes if isinstance(node, Branch)]
    waiting = _unmatched_path(plan)
    if waiting > MAX_WAITING:
        return OverBudget(waiting, MAX_WAITING, _largest(branches), "path")
    everything = len(branches) + TESTS_OF_A_CGROUP * len(plan.cgroups)
    if everything > MAX_NODES:
        return OverBudget(everything, MAX_NODES, _largest(branches), "program")
    return None


def _largest(branches: list[Branch]) -> tuple[int, ...]:
    counts = Counter(node.rule for node in branches if node.rule is not None)
    return tuple(rule for rule, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5])


def _unmatched_path(plan: Plan) -> int:
    """Tests on the longest way on which every match fails at its first test. In a chain the later node of the
    two is where the failing edge leads, unless the other one is a leaf."""
    length = [0] * len(plan.nodes)
    for index in reversed(range(len(plan.nodes))):
        node = plan.nodes[index]
        if not isinstance(node, Leaf):
            inner = [at for at in successors(node) if not isinstance(plan.nodes[at], Leaf)]
            if node.rule is None:
                length[index] = 1 + max((length[at] for at in inner), default=0)
            else:
                length[index] = 1 + (length[max(inner)] if inner else 0)
    return length[0]


def _latency(node: Node, table_cost: dict[str, Cost]) -> float:
    match node:
        case Branch(InTable(_, table)):
            return table_cost[table].latency_ns
        case Branch(test):
            return COMPARE_NS * (2 if fields.BY_NAME[test.field].width_bits > 64 else 1)
        case Classify(name):
            return table_cost[name].latency_ns
        case Admit():
            return LIMIT_NS
        case Pass():
            return PASS_NS
    return 0.0


def _chance(node: Node, plan: Plan) -> float:
    """Guess of the share of packets that go to the first of two ways."""
    if not isinstance(node, Branch):
        return 0.5
    match node.test:
        case Between(field, low, high):
            return chance(field, IntervalSet.of((low, high)))
        case Masked(_, mask, _):
            return float(0.5 ** min(8, mask.bit_count()))
        case InTable(field, name):
            values = plan.table(name).values
            return chance(field, values) if values else LIVE_SHARE
