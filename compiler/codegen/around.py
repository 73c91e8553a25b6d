"""What stands around the nodes of a plan in a program: fragments, and at the hook of endpoints who is judged
and which flow a packet belongs to (`stateful` is the reference).

One row a kind of target; a program asks no hook what it is. Knows the emitters; must never know a policy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from lockgate.stdlib_bpf import hooks, manifest
from lockgate.stdlib_bpf.emit import endpoints, expiry, flow_events, flows, forward, fragments
from lockgate.stdlib_bpf.emit.llvm import Function, Label, Value, const
from lockgate.stdlib_bpf.emit.registers import FATE, LASTS, Registers
from lockgate.stdlib_bpf.fields import split_selected
from lockgate.stdlib_bpf.labels import WORKLOAD
from lockgate.stdlib_bpf.state import endpoints as records
from lockgate.stdlib_bpf.state.flows import FAST
from lockgate.stdlib_bpf.state.fragments import DEFAULT_MODE

from ..decision import FOLLOWS, FORWARDED, INVALID, NO_RULE, SPOOFED, UNJUDGED
from ..plan.ir import Plan
from .maps import MapDefinitions
from .module import DataSection

ALLOW = "allow"


class Program(Protocol):
    """What is asked of a program under construction. `finish`: where decisions go."""

    f: Function
    registers: Registers
    ctx: Value
    verdict: Value
    finish: Label

    @property
    def told(self) -> flow_events.Told | None:
        """Where ends of flows are told of."""

    def decide_before(self, kind: str) -> None:
        """Decide without a rule, by the kind of counter slot."""


class Around:
    """Hooks that know no flows. `slots`: of what is decided without rules; `registers`: that are needed
    beyond those that the plan reads; `keeps_time`: whether the clock is read."""

    slots: tuple[manifest.Slot, ...] = ()
    registers: frozenset[str] = frozenset()
    keeps_time = False

    def __init__(self, plan: Plan) -> None:
        self.plan, self.hook = plan, hooks.ALL[plan.hook]

    @property
    def direct(self) -> bool:
        """Whether packets go from the decoder straight to the rules."""
        return self.plan.fragments == DEFAULT_MODE

    def define(self, definitions: MapDefinitions) -> list[DataSection]:
        """Its maps; gives its tables."""
        return []

    def enter(self, program: Program, point: str, otherwise: int) -> None:
        """Begin a function. `point`: name of the place of attachment; `otherwise`: what the function returns
        where no run ends up."""

    def before(self, program: Program, rules: Label, never: Label) -> None:
        """From a decoded packet to `rules`, if they are asked. `never`: where no run ends up."""
        self._fragments(program, rules)

    def behind(self, program: Program) -> None:
        """What decisions of rules do before they are counted."""

    def leave(self, program: Program) -> None:
        """What stands before the program's own return."""

    def value(self, program: Program, field: str) -> Value:
        """The value of a field."""
        return program.registers.get(field)

    def _fragments(self, program: Program, onward: Label) -> None:
        refused = program.f.label("refused_fragment")
        fragments.emit(program.f, program.registers, self.plan.fragments, onward, refused)
        program.f.place(refused)
        program.decide_before("fragments")


DECIDED = ((FOLLOWS, ALLOW), (INVALID, "drop"), (SPOOFED, "drop"), (UNJUDGED, ALLOW))
FORWARDS = ((FORWARDED, ALLOW),)


class AroundFlows(Around):
    """The hook of endpoints."""

    keeps_time = True
    direct = False

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.fast = plan.forward == FAST
        self.slots = tuple(
            manifest.Slot(NO_RULE[number], NO_RULE[number], verdict)
            for number, verdict in (*DECIDED, *FORWARDS * self.fast)
        )
        self.registers = endpoints.REGISTERS | flows.REGISTERS
        if self.fast:
            self.registers |= forward.REGISTERS

    def define(self, definitions: MapDefinitions) -> list[DataSection]:
        """Records and flows, and the tables of steps and times."""
        definitions.endpoints(len(self.plan.selections))
        definitions.flows()
        return [DataSection(name, data, size) for name, (data, size) in flows.TABLES.items()]

    def enter(self, program: Program, point: str, otherwise: int) -> None:
        """Find what is known of the packet beyond registers."""
        way, kind = records.POINTS[point]
        context, count = self.hook.context, len(self.plan.selections)
        ends = endpoints.Ends(
            program.f, program.registers, context, program.ctx, way == "egress", kind, count
        )
        ends.enter(const("i32", otherwise))
        self._ends = ends

    def before(self, program: Program, rules: Label, never: Label) -> None:
        """Who is it, and does a flow decide?"""
        f, r, ends = program.f, program.registers, self._ends
        exits = endpoints.Exits(f.label("unjudged"), f.label("foreign"), never)
        flow = flows.Flow(ends, program.told)
        follows, invalid, ask = f.label("follows"), f.label("invalid"), f.label("ask")
        addressed, bare, whole = f.label("addressed"), f.label("bare"), f.label("whole")
        judged, free = f.label("judged"), f.label("free")
        workload = ends.kind == WORKLOAD
        known = f.label("known") if self.fast and workload and ends.sends else follows
        passing = f.label("passing") if self.fast and not workload else exits.unjudged
        ends.begin(exits, addressed, bare if workload else exits.unjudged)
        f.place(addressed)
        ends.the_hosts(passing)
        if self.plan.fragments == DEFAULT_MODE:
            f.jump(whole)
        else:
            self._fragments(program, whole)
        f.place(whole)
        flow.find(flows.Ways(known, follows, invalid, ask))
        if known is not follows:
            f.place(known)
            forward.Forward(ends, flow, follows).sent()
            program.decide_before(NO_RULE[FORWARDED])
        if passing is not exits.unjudged:
            f.place(passing)
            past = forward.Forward(ends, flow, exits.unjudged)
            if ends.sends:
                past.left()
            else:
                past.arrived()
                program.decide_before(NO_RULE[FORWARDED])
        for label, number in (
            (follows, FOLLOWS),
            (invalid, INVALID),
            (exits.foreign, SPOOFED),
            (exits.unjudged, UNJUDGED),
        ):
            f.place(label)
            if label is not follows:  # which has no other fate
                r.set(FATE, const("i32", flows.NONE))
            program.decide_before(NO_RULE[number])
        f.place(ask)
        flow.opens()
        ends.who()
        flow.as_opened(invalid)
        f.jump(judged)
        if workload:
            f.place(bare)
            ends.bare()
            f.jump(judged)
        f.place(judged)
        r.set(LASTS, const("i32", 0))
        flow.free(free)
        f.jump(rules)
        f.place(free)
        program.decide_before(NO_RULE[UNJUDGED])

    def behind(self, program: Program) -> None:
        """The flow begins, goes on, or ends."""
        done = program.f.label("settled")
        flow = flows.Flow(self._ends, program.told)
        flow.settle(program.verdict, self.hook.verdicts[ALLOW], done)
        program.f.place(done)
        expiry.Expiry(flow).settle()

    def leave(self, program: Program) -> None:
        """Packets of known flows may go straight on."""
        if self.fast:
            forward.Forward(self._ends, flows.Flow(self._ends, None), program.finish).leave()

    def value(self, program: Program, field: str) -> Value:
        """Bits of selections lie in no register."""
        return super().value(program, field) if split_selected(field) is None else self._ends.taken(field)


AROUND: dict[str, Callable[[Plan], Around]] = {
    "interface": Around,
    "cgroup": Around,
    "endpoint": AroundFlows,
}


def around(plan: Plan) -> Around:
    """What stands around the nodes of a plan."""
    return AROUND[hooks.ALL[plan.hook].target](plan)
