"""One BPF program: before the plan's nodes and behind them.

The shape: hand over to the predecessor or go on (`emit.generation`) → decode (jumps to `malformed` or the
nodes) → nodes → leaf → `finish` (the rule's own counter, the named one, an event, verdict).
"""

from __future__ import annotations

from collections.abc import Callable

from lockgate.stdlib_bpf import hooks
from lockgate.stdlib_bpf.emit import effects, frame, generation, live, reply, sock_addr, state
from lockgate.stdlib_bpf.emit.llvm import Function, Label, Value, const
from lockgate.stdlib_bpf.emit.registers import DSCP, NAMED, NO_DSCP, NO_SLOT, SAMPLE, SLOT, Registers
from lockgate.stdlib_bpf.state import counters

from .common import Common, asked_again, asks
from .nodes import Nodes

DECODERS: dict[str, Callable[..., None]] = {"frame": frame.emit, "sock_addr": sock_addr.emit}


def function(of: Common, name: str, point: hooks.AttachPoint, previous: str) -> str:
    """The program for one place. `previous`: the map with its predecessor."""
    f = of.begin(name, [of.context_argument()], point.section)
    _Program(of, f, point.variant).emit(point.name, previous)
    return f.text()


class _Program(Nodes):
    def __init__(self, of: Common, f: Function, variant: str) -> None:
        verdict = f.alloca("i32", "verdict", 4)
        tries = {name: f.alloca("ptr", "trie") for name in asked_again(of.plan)}
        super().__init__(of, f, variant, Registers(f, of.registers), verdict, tries)

    def emit(self, point: str, previous: str) -> None:
        f = self.f
        generation.emit(f, self.ctx, previous)
        labels = {i: Label(f"n{i}") for i in range(len(self.plan.nodes))}
        malformed = f.label("malformed")
        around = self.of.around
        decoded = labels[0] if around.direct else f.label("decoded")
        DECODERS[self.hook.decoder](
            f, self.hook.context, self.variant, self.ctx, self.registers, decoded, malformed
        )
        f.place(malformed)
        self.decide(counters.MALFORMED, self.hook.malformed)
        if not around.direct:
            f.place(decoded)
            around.before(self, point, labels[0], malformed)
        asked = any(asks(self.plan, field) for field in ("meta.iif", "sock.cgroup"))
        if asked or self.of.rewrites or self.tries:
            f.place(labels[0])
            labels[0] = f.label("rules")
            self._before_rules(malformed)
            f.jump(labels[0])
        for number in range(len(labels)):
            self.emit_node(number, labels)
        self._epilogue()

    def decide_before(self, kind: str) -> None:
        """Decide without a rule, by the kind of counter slot."""
        number = self.of.slot_numbers[kind, kind]
        self.decide(number, self.of.slots[number].verdict or "")

    def value(self, field: str) -> Value:
        """The value of a field, wherever it is kept."""
        return self.of.around.value(self, field)

    def _before_rules(self, never: Label) -> None:
        """What is known of a packet besides what the decoder reads, and the dynamic sets that it may be asked
        about more than once: all answers come from one list. `never`: where no run ends up."""
        if self.of.rewrites:
            self.registers.set(DSCP, const("i32", NO_DSCP))
        if asks(self.plan, "meta.iif"):
            context, count = self.hook.context, len(self.plan.devices)
            effects.arrival(self.f, context, self.ctx, self.registers, count)
        if asks(self.plan, "sock.cgroup"):
            sock_addr.caller(self.f, self.registers, len(self.plan.cgroups))
        for name, slot in self.tries.items():
            self.f.store(live.trie(self.f, name, never), slot)

    def _epilogue(self) -> None:
        """What decisions leave behind, once for all rules: the rule's own counter, the named one, an
        event."""
        f, r = self.f, self.registers
        f.at(self.of.main, self.of.line)
        self.of.around.behind(self)
        f.place(self.finish)
        seen = f.alloca("i64", "seen") if self.of.logs else None
        state.count(f, r, r.address(SLOT), seen)
        if self.of.counts:
            named, done = f.label("named"), f.label("named_done")
            f.branch(f.compare("eq", r.get(NAMED), NO_SLOT), done, named)
            f.place(named)
            state.count(f, r, r.address(NAMED))
            f.jump(done)
            f.place(done)
        if seen is not None:
            chosen, done = f.label("sampling"), f.label("log_done")
            f.branch(f.compare("eq", r.get(SAMPLE), 0), done, chosen)
            f.place(chosen)
            self.log(f.zext(r.get(SAMPLE), "i64"), seen, done)
        if self.of.rewrites:
            self._rewrite()
        if self.of.answers:
            way = "egress" if self.plan.direction == "ingress" else "ingress"
            reply.emit(f, self.hook.context, self.ctx, r, self.verdict, way)
        f.ret(f.load("i32", self.verdict))

    def _rewrite(self) -> None:
        """Give the packet the DSCP of the last rule that asked for one."""
        f, wanted = self.f, self.registers.get(DSCP)
        chosen, done = f.label("rewrite"), f.label("rewritten")
        f.branch(f.compare("eq", wanted, NO_DSCP), done, chosen)
        f.place(chosen)
        effects.dscp(f, self.hook.context, self.variant, self.ctx, self.registers, wanted)
        f.jump(done)
        f.place(done)
