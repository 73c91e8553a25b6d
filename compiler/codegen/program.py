"""One BPF program: before the plan's nodes and behind them.

The shape: hand over to the predecessor or go on (`emit.generation`) → decode (jumps to `malformed` or the
nodes) → nodes → leaf → `finish` (the rule's own counter, the named one, an event, verdict).
"""

from __future__ import annotations

from collections.abc import Callable

from lockgate.stdlib_bpf import hooks
from lockgate.stdlib_bpf.emit import effects, frame, generation, live, proxies, reply, sock_addr, state
from lockgate.stdlib_bpf.emit.llvm import Label, Value, const
from lockgate.stdlib_bpf.emit.registers import DSCP, NAMED, NO_DSCP, NO_SLOT, PROXY, SAMPLE, SLOT, Registers
from lockgate.stdlib_bpf.state import counters

from .common import Common, asks
from .nodes import Nodes

DECODERS: dict[str, Callable[..., None]] = {"frame": frame.emit, "sock_addr": sock_addr.emit}


def function(of: Common, name: str, point: hooks.AttachPoint, previous: str) -> str:
    """The program for one place, all in one function. `previous`: the map with its predecessor."""
    f = of.begin(name, [of.context_argument()], point.section)
    tries = {name: f.alloca("ptr", "trie") for name in of.asked_again}
    program = Program(of, f, point.variant, Registers(f, of.registers), tries)
    generation.emit(f, program.ctx, previous)
    of.around.enter(program, point.name, of.hook.verdicts[of.hook.malformed])
    labels = {i: Label(f"n{i}") for i in range(len(of.plan.nodes))}
    program.decode(labels[0])
    for number in labels:
        program.emit_node(number, labels)
    program.epilogue()
    return f.text()


class Program(Nodes):
    """What stands before the nodes, and behind them."""

    def decode(self, rules: Label) -> None:
        """Read the packet and all else that rules ask for, then jump to `rules`, or decide."""
        f, malformed = self.f, self.f.label("malformed")
        asked = any(asks(self.plan, field) for field in ("meta.iif", "sock.cgroup"))
        more = asked or self.of.rewrites or self.of.asked_again
        judged = f.label("before_rules") if more else rules
        around = self.of.around
        decoded = judged if around.direct else f.label("decoded")
        DECODERS[self.hook.decoder](
            f, self.hook.context, self.variant, self.ctx, self.registers, decoded, malformed
        )
        f.place(malformed)
        self.decide(counters.MALFORMED, self.hook.malformed)
        if not around.direct:
            f.place(decoded)
            around.before(self, judged, malformed)
        if more:
            f.place(judged)
            self._before_rules(malformed)
            f.jump(rules)

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
        for register in self.of.answer_registers:
            self.registers.set(register, const("i32", 0))
        for name in self.of.asked_again:
            trie = live.trie(self.f, name, never)
            if name in self.tries:
                self.f.store(trie, self.tries[name])
            else:
                self._answers(name, trie)

    def _answers(self, name: str, trie: Value) -> None:
        """What a dynamic set says of each field it is asked about, since parts cannot be handed its trie. No
        answer about a field that a packet lacks is ever read."""
        f, r, width = self.f, self.registers, self.plan.table(name).width_bits
        for (table, field), (register, bit) in self.of.answers_of.items():
            if table == name:
                held, done = f.label("held"), f.label("asked")
                live.member(f, trie, r.get(field), width, held, done)
                f.place(held)
                r.set(register, f.op("or", r.get(register), bit))
                f.jump(done)
                f.place(done)

    def epilogue(self) -> None:
        """What decisions leave behind, once for all rules: the rule's own counter, the named one, an event;
        then return."""
        f, r = self.f, self.registers
        f.at(self.of.main, self.of.line)
        f.place(self.finish)
        self.of.around.behind(self)
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
        if self.of.proxies:
            proxies.Call(f, self.variant).send(r.get(PROXY), self.verdict)
        self.of.around.leave(self)
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
