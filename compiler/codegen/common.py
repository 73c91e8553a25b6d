"""What all functions of one module share, and what a plan asks for as a whole.

Knows plans and hooks; writes no code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lockgate import __version__
from lockgate.stdlib_bpf import classifiers, fields, hooks, manifest, tables, tags
from lockgate.stdlib_bpf.emit import fragments, limits
from lockgate.stdlib_bpf.emit.llvm import DebugInfo, Function
from lockgate.stdlib_bpf.emit.registers import (
    ANSWER,
    ANSWERS,
    DSCP,
    LEFT,
    LENGTH,
    NETWORK,
    NEXT,
    PROXY,
    TAG,
    TRANSPORT,
    VERDICT,
)
from lockgate.stdlib_bpf.state.fragments import DEFAULT_MODE
from lockgate.stdlib_bpf.tables.base import DataImage

from ..plan.ir import Branch, Classifier, InTable, Plan, Tag
from . import functions, proxies
from .around import around

NAMED_OF, SAMPLE_OF = "named_of", "sample_of"  # sections: of each rule, where classifiers find rules


def slots_of(plan: Plan) -> tuple[manifest.Slot, ...]:
    """The counter slots of a plan, in the order `stdlib_bpf.state.counters` describes, then `fragments` for
    those that are dropped before any rule, what the hook decides without one, and `lost` for events that
    found the ring full."""
    hook = hooks.ALL[plan.hook]
    slots = [
        manifest.Slot("malformed", "malformed", hook.malformed),
        manifest.Slot("default", "default", plan.default),
    ]
    slots += [manifest.Slot("rule", r.label, r.verdict, r.file, r.line, r.sample) for r in plan.rules]
    slots += [manifest.Slot("named", name) for name in sorted({r.count for r in plan.rules if r.count})]
    if plan.fragments != DEFAULT_MODE:
        slots.append(manifest.Slot("fragments", "fragments", hook.malformed))
    slots += around(plan).slots
    if any(r.sample for r in plan.rules):
        slots.append(manifest.Slot("lost", "lost events"))
    return tuple(slots)


def asks(plan: Plan, field: str) -> bool:
    """Whether some test is about a field."""
    return any(isinstance(node, Branch) and node.test.field == field for node in plan.nodes)


def asks_the_time(plan: Plan) -> bool:
    """Whether some way through the program reads the clock."""
    return (
        plan.fragments == "track"
        or around(plan).keeps_time
        or any(rule.limit is not None for rule in plan.rules)
        or any(table.live is not None for table in plan.tables)
    )


def asked_again(plan: Plan) -> dict[str, list[str]]:
    """Tables of dynamic sets that more than one node asks, in order, with the fields they are asked about."""
    asked: dict[str, list[str]] = {}
    for node in plan.nodes:
        if isinstance(node, Branch) and isinstance(node.test, InTable):
            asked.setdefault(node.test.table, []).append(node.test.field)
    live = [table.name for table in plan.tables if table.live is not None]
    return {name: sorted({*asked[name]}) for name in live if len(asked[name]) > 1}


def answers_packets(plan: Plan) -> bool:
    """Whether rejected packets are answered by packets."""
    verdicts = {plan.default, *(rule.verdict for rule in plan.rules)}
    return hooks.ALL[plan.hook].target == "interface" and "reject" in verdicts


class Common:
    """One generation: the plan with its hook, debug information, counter slots, and built tables. `line`: of
    the policy, for code that serves no single rule; `index`: of the chain in the bundle."""

    def __init__(self, plan: Plan, sources: Mapping[str, str], line: int, index: int) -> None:
        self.plan, self.line, self.index = plan, line, index
        self.hook = hooks.ALL[plan.hook]
        self.debug = DebugInfo(dict(sources), f"lockgate {__version__}")
        self.main = next(iter(sources))
        self.slots = slots_of(plan)
        self.slot_numbers = {(s.kind, s.label): i for i, s in enumerate(self.slots) if s.kind != "rule"}
        self.logs = any(r.sample for r in plan.rules)
        self.counts = any(r.count for r in plan.rules)
        self.rewrites = any(r.effects.dscp is not None for r in plan.rules)
        self.answers = answers_packets(plan)
        self.proxies = proxies.of_plan(plan)
        self.around = around(plan)
        self.parts_of: dict[str, str] = {}  # variant → program whose parts serve all programs of it
        self.asked_again = asked_again(plan)
        alone = [i for i, r in enumerate(plan.rules) if r.limit is not None and r.limit.per is None]
        self.buckets = {rule: number for number, rule in enumerate(alone)}  # of limits with one bucket each
        self.registers = [*sorted(self._fields_read()), *self._for_effects()]
        self.answers_of: dict[tuple[str, str], tuple[str, int]] = {}
        self.answer_registers: list[str] = []
        if plan.parts:
            self._hand_over()
        self.images = {
            t.name: tables.ALL[t.kind].build(t.values, t.width_bits, t.max_entries) for t in plan.tables
        }
        self.trees = {one.name: self._tree(one) for one in plan.classifiers}
        self.tags = {one.name: tags.ALL[one.kind].build(one.members, one.width_bits) for one in plan.tags}

    def begin(self, name: str, arguments: list[functions.Argument], section: str | None) -> Function:
        """A function of this generation (`functions.begin`)."""
        return functions.begin(self.debug, self.line, name, arguments, section)

    def context_argument(self) -> functions.Argument:
        """The hook's context, as `begin` takes it."""
        return functions.context_argument(self.debug, self.hook.context)

    def _hand_over(self) -> None:
        """What functions tell one another: the verdict, where to go on, and what dynamic sets say (register
        and bit of the answer by table and field)."""
        asked = [(table, field) for table, fields in self.asked_again.items() for field in fields]
        self.answers_of = {one: (f"{ANSWERS}{i // 32}", 1 << i % 32) for i, one in enumerate(asked)}
        self.answer_registers = sorted({register for register, _ in self.answers_of.values()})
        self.registers += [VERDICT, NEXT, *self.answer_registers]

    def _fields_read(self) -> set[str]:
        plan = self.plan
        names = {n.test.field for n in plan.nodes if isinstance(n, Branch)}
        names |= {name for one in plan.classifiers for name in one.fields}
        names |= {TAG.format(field=n.field, tags=n.tags) for n in plan.nodes if isinstance(n, Tag)}
        names |= {name for r in plan.rules if r.limit for name in limits.fields_read(r.limit)}
        names = {name for name in names if fields.split_selected(name) is None} | self.around.registers
        names |= fragments.registers_of(plan.fragments)
        if self.logs:
            names |= {"ip4.dst", "ip6.dst", "th.dport"} if self.hook.decoder == "sock_addr" else {LENGTH}
        return names

    def _for_effects(self) -> list[str]:
        """Registers for what rules do to packets."""
        found = [DSCP, NETWORK] * self.rewrites + [ANSWER, NETWORK, TRANSPORT, LEFT] * self.answers
        return found + [PROXY] * bool(self.proxies)

    def _tree(self, one: Classifier) -> DataImage:
        """A classifier's memory, with each rule's verdict as the code of its boxes."""
        verdicts, rules = self.hook.verdicts, self.plan.rules
        boxes = tuple(replace(box, code=verdicts[rules[box.rule].verdict] & 0xFF) for box in one.boxes)
        return classifiers.ALL[one.kind].build(replace(one, boxes=boxes).contents)
