"""Whether a plan is well formed, above all: no field is read where it may be missing.

Presence is a data flow over the graph: of every node the values that `eth.type` and `l4.proto` may still have
there are known, joined over all ways that lead to it. Edges lead upward, so one sweep is enough.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from lockgate.stdlib_bpf import classifiers, fields, hooks, tables, tags
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state.limits import Limit

from ..match.verify import (
    VerifyError,
    check_cgroups,
    check_modes,
    check_places,
    check_rules,
    check_selected,
)
from .classify import is_plain
from .ir import (
    DEFAULT,
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
    Tag,
    Tagged,
    Tags,
    Test,
    successors,
)
from .parts import inner

NO_OTHER = -9  # no number of a rule
MISSING = 256  # stands for a missing `l4.proto` among its values
# What may be missing where it is asked: a mask or a table might answer yes there.
ONLY_RANGES = fields.ANSWERED - {"ip.proto"}


@dataclass(frozen=True)
class Known:
    """What may still be: values of `eth.type`, and of `l4.proto` with MISSING. `looked`: the (field, tags)
    that have been looked up on every way."""

    eth_type: IntervalSet
    l4_proto: IntervalSet
    looked: frozenset[tuple[str, str]] = frozenset()


ANYTHING = Known(IntervalSet.full(16), IntervalSet.of((0, MISSING)))


def verify(plan: Plan) -> None:
    """Raise VerifyError for the first rule of the IR that the plan breaks."""
    hook = hooks.ALL.get(plan.hook)
    if hook is None or plan.direction not in hook.points:
        raise VerifyError(f"there is no hook `{plan.hook}` with direction `{plan.direction}`")
    check_rules(plan.default, plan.rules, plan.devices, hook)
    check_cgroups(plan.cgroups, hook)
    check_modes(plan.fragments, plan.forward, hook)
    if list(plan.hot) != sorted({*plan.hot} & {*range(len(plan.rules))}):
        raise VerifyError("hot rules are not rules in ascending order")
    _check_tables(plan)
    _check_classifiers(plan)
    _check_tags(plan)
    if not plan.nodes:
        raise VerifyError("the plan has no nodes")
    _check_parts(plan)
    by_name = {table.name: table for table in plan.tables}
    known: list[Known | None] = [None] * len(plan.nodes)
    known[0] = ANYTHING
    for index, node in enumerate(plan.nodes):
        here = known[index]
        try:
            if here is None:
                raise VerifyError("nothing leads here")
            if any(not index < at < len(known) for at in successors(node)):
                raise VerifyError("an edge must lead to a later node")
            other = {Leaf: DEFAULT, Branch: None, Classify: None, Tag: None}.get(type(node), NO_OTHER)
            _check_rule(node.rule, plan, other)
            match node:
                case Branch(Tagged(field, name, member)):
                    if (field, name) not in here.looked:
                        raise VerifyError(f"{field} may not have been looked up in {name}")
                    if not 0 <= member < len(plan.tagging(name).members):
                        raise VerifyError(f"{name} has no member {member}")
                case Branch(test):
                    _check_test(test, plan, by_name)
                    _check_presence(test.field, here)
                case Leaf(rule) if rule != DEFAULT and plan.rules[rule].passing:
                    raise VerifyError("the rule does not decide")
                case Pass(rule) if not plan.rules[rule].passing:
                    raise VerifyError("the rule decides")
                case Admit(rule):
                    _check_limit(plan.rules[rule].limit, here)
                case Classify(name):
                    _check_classified(plan.classifier(name), here)
                case Tag(field, name):
                    _check_tag(field, plan.tagging(name), plan.hook)
                    _check_presence(field, here)
        except VerifyError as reason:
            raise VerifyError(f"node {index}: {reason}") from None
        for at, state in _outcomes(node, here):
            before = known[at]
            known[at] = state if before is None else _join(before, state)


def _check_parts(plan: Plan) -> None:
    if not plan.parts:
        return
    leaves = inner(plan)
    if plan.parts[0] != 0 or list(plan.parts) != sorted({*plan.parts} & {*range(leaves)}):
        raise VerifyError("the first nodes of parts are not inner nodes in ascending order, from 0 on")
    if any(isinstance(node, Leaf) for node in plan.nodes[:leaves]):
        raise VerifyError("a plan with parts has leaves among its other nodes")


def _check_tables(plan: Plan) -> None:
    names = [table.name for table in plan.tables]
    if len(set(names)) != len(names):
        raise VerifyError("two tables have one name")
    used = {
        node.test.table for node in plan.nodes if isinstance(node, Branch) and isinstance(node.test, InTable)
    }
    for table in plan.tables:
        if not (table.name.isidentifier() and table.name.isascii()):
            raise VerifyError(f"the table name `{table.name}` is not an identifier of C")
        if table.name not in used:
            raise VerifyError(f"the table {table.name} is not used")
        block = tables.ALL.get(table.kind)
        if block is None:
            raise VerifyError(f"the table {table.name} is of unknown kind `{table.kind}`")
        if table.width_bits not in block.WIDTHS:
            raise VerifyError(f"a {table.kind} cannot hold keys of {table.width_bits} bits ({table.name})")
        if table.live is not None and not block.UPDATABLE:
            raise VerifyError(f"a {table.kind} cannot hold the dynamic set `{table.live}`")
        if table.max_entries < 1 or bool(table.values) == (table.live is not None):
            raise VerifyError(f"the table {table.name} must be either static and filled, or live")
        if table.values and table.values.ranges[-1][1] >> table.width_bits:
            raise VerifyError(f"the table {table.name} has values of more than {table.width_bits} bits")


def _check_classifiers(plan: Plan) -> None:
    named = {node.classifier for node in plan.nodes if isinstance(node, Classify)}
    names = [one.name for one in plan.classifiers]
    if named != set(names) or len(named) != len(names) or named & {table.name for table in plan.tables}:
        raise VerifyError("classifiers and the nodes that name them do not fit each other")
    for one in plan.classifiers:
        if not (one.name.isidentifier() and one.name.isascii()):
            raise VerifyError(f"the name `{one.name}` is not an identifier of C")
        if one.kind not in classifiers.ALL:
            raise VerifyError(f"the classifier {one.name} is of unknown kind `{one.kind}`")
        for field in one.fields:
            if field not in fields.BY_NAME or plan.hook not in fields.BY_NAME[field].hooks:
                raise VerifyError(f"there is no field `{field}` at {plan.hook}")
        if not one.boxes or list(one.boxes) != sorted(one.boxes, key=lambda box: box.rule):
            raise VerifyError(f"the boxes of {one.name} are not in the order of rules")
        for box in one.boxes:
            _check_rule(box.rule, plan, NO_OTHER)
            _check_box(box.ranges, one)
            rule = plan.rules[box.rule]
            if not is_plain(rule, plan.hook):
                raise VerifyError(f"rule {box.rule} does more than to decide")


def _check_tags(plan: Plan) -> None:
    named = {node.tags for node in plan.nodes if isinstance(node, Tag)}
    names = [one.name for one in plan.tags]
    others = {table.name for table in plan.tables} | {one.name for one in plan.classifiers}
    if named != set(names) or len(named) != len(names) or named & others:
        raise VerifyError("tags and the nodes that look fields up in them do not fit each other")
    for one in plan.tags:
        if not (one.name.isidentifier() and one.name.isascii()):
            raise VerifyError(f"the name `{one.name}` is not an identifier of C")
        if one.kind not in tags.ALL:
            raise VerifyError(f"the tags {one.name} are of unknown kind `{one.kind}`")
        if one.width_bits not in tags.ALL[one.kind].WIDTHS:
            raise VerifyError(f"{one.kind} cannot hold keys of {one.width_bits} bits ({one.name})")
        if not 0 < len(one.members) <= tags.MAX_MEMBERS:
            raise VerifyError(f"{one.name} has {len(one.members)} members, not 1 to {tags.MAX_MEMBERS}")
        if any(values and values.ranges[-1][1] >> one.width_bits for values in one.members):
            raise VerifyError(f"{one.name} has values of more than {one.width_bits} bits")


def _check_tag(field: str, one: Tags, hook: str) -> None:
    if field not in fields.BY_NAME or hook not in fields.BY_NAME[field].hooks:
        raise VerifyError(f"there is no field `{field}` at {hook}")
    if field in ONLY_RANGES:
        raise VerifyError(f"{field} may be missing: only a range is safe to ask for")
    if fields.BY_NAME[field].width_bits != one.width_bits:
        raise VerifyError(f"the keys of {one.name} are not as wide as {field}")


def _check_box(ranges: tuple[tuple[int, int], ...], one: Classifier) -> None:
    if len(ranges) != len(one.fields):
        raise VerifyError(f"a box of {one.name} has not one range for each field")
    for (low, high), width in zip(ranges, one.contents.widths, strict=True):
        size = high - low + 1
        if not 0 <= low <= high < 1 << width:
            raise VerifyError(f"{low}-{high} is not a range of {width} bits")
        if width > 64 and (size & (size - 1) or low % size):
            raise VerifyError(f"{low}-{high} is not a prefix")


def _check_classified(one: Classifier, here: Known) -> None:
    for field in one.fields:
        if field == fields.L4_PROTO.name:
            if MISSING in here.l4_proto:
                raise VerifyError(f"{field} is classified by, but may be missing")
        elif field == "ip.proto":
            if not here.eth_type.issubset(fields.IP):
                raise VerifyError(f"{field} is classified by, but may be missing")
        elif field in fields.ANSWERED:
            raise VerifyError(f"{field} is classified by, but may be missing")
        else:
            _check_presence(field, here)


def _check_rule(rule: int | None, plan: Plan, other: int | None) -> None:
    """`other`: what else it may be than the number of a rule."""
    if rule != other and (rule is None or not 0 <= rule < len(plan.rules)):
        raise VerifyError(f"there is no rule {rule}")


def _check_test(test: Test, plan: Plan, by_name: dict[str, Table]) -> None:
    if (selected := fields.split_selected(test.field)) is not None:
        check_selected(test.field, selected[1], len(plan.selections), plan.hook)
    elif test.field not in fields.BY_NAME or plan.hook not in fields.BY_NAME[test.field].hooks:
        raise VerifyError(f"there is no field `{test.field}` at {plan.hook}")
    row = fields.lookup(test.field)
    if row.name in ONLY_RANGES and not isinstance(test, Between):
        raise VerifyError(f"{row.name} may be missing: only a range is safe to ask for")
    limit = 1 << row.width_bits
    match test:
        case Between(_, low, high):
            if not 0 <= low <= high < limit:
                raise VerifyError(f"not a range of {row.width_bits} bits")
            if row.name == "sock.cgroup":
                check_places([(low, high)], len(plan.cgroups))
        case Masked(_, mask, value):
            if not 0 < mask < limit or value & ~mask or value < 0:
                raise VerifyError(f"not a mask of {row.width_bits} bits with a value inside it")
        case InTable(_, name):
            if name not in by_name:
                raise VerifyError(f"there is no table {name}")
            if by_name[name].width_bits != row.width_bits:
                raise VerifyError(f"the keys of {name} are not as wide as {test.field}")


def _check_presence(field: str, here: Known) -> None:
    if field in fields.ANSWERED:
        return
    for guard, allowed in fields.lookup(field).guards:
        possible = here.eth_type if guard == "eth.type" else here.l4_proto
        if not possible.issubset(allowed):
            name = "eth.type" if guard == "eth.type" else fields.L4_PROTO.name
            raise VerifyError(f"{field} is read, but {name} may have a value without it")


def _check_limit(limit: Limit | None, here: Known) -> None:
    if limit is None:
        raise VerifyError("the rule has no limit")
    if limit.per is not None and not here.eth_type.issubset(fields.IP):
        raise VerifyError("the limit is per address, but the packet may have none")


def _outcomes(node: Node, here: Known) -> tuple[tuple[int, Known], ...]:
    """What is known behind each edge."""
    if isinstance(node, Tag):
        return ((node.next, replace(here, looked=here.looked | {(node.field, node.tags)})),)
    if not isinstance(node, Branch):
        return tuple((at, here) for at in successors(node))
    field = node.test.field
    if field not in ("eth.type", fields.L4_PROTO.name) or isinstance(node.test, InTable | Tagged):
        return (node.yes, here), (node.no, here)
    values = _values(node.test, fields.BY_NAME[field].width_bits)
    if field == "eth.type":
        yes = replace(here, eth_type=_and(here.eth_type, values))
        no = replace(here, eth_type=_minus(here.eth_type, values))
    else:
        yes = replace(here, l4_proto=_and(here.l4_proto, values))
        no = replace(here, l4_proto=_minus(here.l4_proto, values))
    return (node.yes, yes), (node.no, no)


@lru_cache(maxsize=1024)
def _values(test: Between | Masked, width_bits: int) -> IntervalSet:
    """The values that satisfy a test."""
    if isinstance(test, Between):
        return IntervalSet.of((test.low, test.high))
    return IntervalSet.of(*(v for v in range(1 << width_bits) if v & test.mask == test.value))


def _join(a: Known, b: Known) -> Known:
    if a == b:
        return a
    return Known(_or(a.eth_type, b.eth_type), _or(a.l4_proto, b.l4_proto), a.looked & b.looked)


# The same few sets meet thousands of times in a chain.
@lru_cache(maxsize=4096)
def _and(a: IntervalSet, b: IntervalSet) -> IntervalSet:
    return a & b


@lru_cache(maxsize=4096)
def _or(a: IntervalSet, b: IntervalSet) -> IntervalSet:
    return a | b


@lru_cache(maxsize=4096)
def _minus(a: IntervalSet, b: IntervalSet) -> IntervalSet:
    return a - b
