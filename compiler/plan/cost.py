"""What a plan costs, predicted: for choices, for `--explain`, and for saying no before the kernel does.

Nanoseconds are those of the reference machine (`docs/internals/tables.md`) and good for comparing plans, not
as promises. Parsing the packet is not included: it is the same for every plan.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from lockgate.stdlib_bpf import classifiers, fields, tables, tags
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
    Masked,
    Node,
    Pass,
    Plan,
    Table,
    Tag,
    Tagged,
    Tags,
    successors,
)
from .order import LIVE_SHARE, chance
from .parts import size

# The kernel follows a million instructions of a program (BPF_COMPLEXITY_LIMIT_INSNS); some are for its rest.
MAX_STEPS = 900_000
MAX_CGROUPS = 3_333  # a jump of BPF v3 reaches 32,767 instructions; to look for one of the list takes 7
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
    """Why a plan does not fit one BPF program: it `needs` more than `limit` of what `unit` says. `rules`:
    those that take the most of it and their share of all, at most five, the largest first."""

    needs: int
    limit: int
    unit: str
    rules: tuple[tuple[int, float], ...] = ()


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
    tagged = dict.fromkeys(test.tags for test in tests if isinstance(test, Tagged))
    return RuleCost(len(tests), sum(_latency(node, prices) for node in nodes), (*looked, *tagged))


def latencies(plan: Plan) -> list[float]:
    """Predicted ns of each node of a verified plan."""
    prices = _prices(plan)
    return [_latency(node, prices) for node in plan.nodes]


def _prices(plan: Plan) -> dict[str, Cost]:
    parts: list[Table | Classifier | Tags] = [*plan.tables, *plan.classifiers, *plan.tags]
    return {part.name: price(part) for part in parts}


def price(part: Table | Classifier | Tags) -> Cost:
    """The cost of one table, classifier or tags of a plan."""
    if isinstance(part, Tags):
        return tags.ALL[part.kind].cost(part.ranges, part.width_bits)
    if isinstance(part, Classifier):
        return classifiers.ALL[part.kind].cost(part.contents)
    return tables.ALL[part.kind].cost(part.values, part.width_bits, part.max_entries)


def asking(plan: Plan, name: str) -> list[int]:
    """The rules whose tests look into a table or tags, ascending; none where a test serves many."""
    found: set[int | None] = set()
    for node in plan.nodes:
        match node:
            case Branch(InTable(_, table), _, _, rule) if table == name:
                found.add(rule)
            case Branch(Tagged(_, tagging), _, _, rule) if tagging == name:
                found.add(rule)
    return sorted(rule for rule in found if rule is not None)


def steps(plan: Plan) -> int:
    """How many instructions the verifier goes through, each as often as it does; rather more than less. What
    classifiers take is not among them."""
    return _steps(plan).total()


def _steps(plan: Plan) -> Counter[int | None]:
    found: Counter[int | None] = Counter()
    for node in plan.nodes:
        found[node.rule] += size(node, plan).steps
    return found


def over_budget(plan: Plan) -> OverBudget | None:
    """Facts for the error when the plan is too large for one BPF program, None when it fits. What classifiers
    take is known later, when they are built."""
    by_rule = _steps(plan)
    needs = by_rule.total()
    if needs > MAX_STEPS:
        shares = [(rule, number / needs) for rule, number in by_rule.items() if rule is not None]
        largest = sorted(shares, key=lambda one: (-one[1], one[0]))[:5]
        return OverBudget(needs, MAX_STEPS, "verifier steps", tuple(largest))
    if len(plan.cgroups) > MAX_CGROUPS:
        return OverBudget(len(plan.cgroups), MAX_CGROUPS, "cgroups that rules ask about")
    return None


def _latency(node: Node, table_cost: dict[str, Cost]) -> float:
    match node:
        case Branch(InTable(_, table)):
            return table_cost[table].latency_ns
        case Branch(Tagged()):
            return COMPARE_NS
        case Tag(_, tagging):
            return table_cost[tagging].latency_ns
        case Branch(test):
            return COMPARE_NS * (2 if fields.lookup(test.field).width_bits > 64 else 1)
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
        case Tagged(field, name, member):
            return chance(field, plan.tagging(name).members[member])
