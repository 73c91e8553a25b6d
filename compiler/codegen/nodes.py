"""Nodes of a plan to LLVM, one block each, into one function: the whole program, or a part of it.

A leaf notes what was decided and jumps to `finish`; what a decision leaves behind is the affair of who makes
the function (`lower`, `parts`). The rules' lines go along as debug locations.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_

from lockgate.stdlib_bpf import answers, fields
from lockgate.stdlib_bpf.effects import NONE, Effects
from lockgate.stdlib_bpf.emit import effects, flow_events, limits, live, reply, state
from lockgate.stdlib_bpf.emit.classifiers import CLASSIFY
from lockgate.stdlib_bpf.emit.llvm import Function, Label, Value, const
from lockgate.stdlib_bpf.emit.registers import (
    ANSWER,
    DSCP,
    LASTS,
    NAMED,
    NO_DSCP,
    NO_SLOT,
    PROXY,
    SAMPLE,
    SLOT,
    TAG,
    VERDICT,
    Registers,
)
from lockgate.stdlib_bpf.emit.tables import LOOKUPS
from lockgate.stdlib_bpf.emit.tags import TAGS
from lockgate.stdlib_bpf.state import counters, flows
from lockgate.stdlib_bpf.state.events import EVENT
from lockgate.stdlib_bpf.state.limits import BUCKETS

from ..match.ir import RuleInfo
from ..plan.ir import DEFAULT, Admit, Between, Branch, Classify, InTable, Leaf, Masked, Pass, Tag, Tagged
from .common import NAMED_OF, SAMPLE_OF, Common


class Nodes:
    """Emits nodes into `f`. `tries`: where the tries in force lie of sets that are asked more than once.
    `verdict` is where the hook's number for it is left, an i32."""

    def __init__(
        self,
        of: Common,
        f: Function,
        variant: str,
        registers: Registers,
        tries: Mapping[str, Value],
    ) -> None:
        self.of, self.plan, self.hook = of, of.plan, of.hook
        self.f, self.ctx, self.variant, self.registers = f, Value("ptr", "%ctx"), variant, registers
        self.tries = tries
        self.verdict = registers.address(VERDICT) if of.plan.parts else f.alloca("i32", "verdict", 4)
        self.finish = f.label("finish")

    def emit_node(self, number: int, labels: Mapping[int, Label]) -> None:
        """One node, at its label. `labels`: of all nodes that it may lead to, and its own."""
        self.f.place(labels[number])
        match self.plan.nodes[number]:
            case Leaf() as node:
                self._leaf(node)
            case Branch() as node:
                self._branch(node, labels)
            case Admit() as node:
                self._admit(node, labels)
            case Pass() as node:
                self._pass(node, labels[node.next])
            case Classify() as node:
                self._classify(node, labels[node.no])
            case Tag() as node:
                self._tag(node, labels[node.next])

    @property
    def told(self) -> flow_events.Told | None:
        """Where ends of flows are told of; None where no rule logs."""
        lost = self.of.slot_numbers.get(("lost", "lost events"))
        return None if lost is None else flow_events.Told(self.of.index, lost)

    def log(self, sample: Value, seen: Value, done: Label) -> None:
        """Send an event for the first of every `sample` packets that a counter has seen; ends at `done`."""
        f, log = self.f, self.f.label("log")
        f.branch(f.compare("eq", f.op("urem", f.load("i64", seen), sample), 0), log, done)
        f.place(log)
        lost = self.of.slot_numbers["lost", "lost events"]
        state.log(
            f,
            self.hook.context,
            self.variant,
            self.ctx,
            self.of.index,
            lost,
            self.registers,
            self._destination(),
        )
        f.jump(done)
        f.place(done)

    def decide(
        self, slot: int, verdict: str, count: str | None = None, sample: int = 0, does: Effects = NONE
    ) -> None:
        """Note what was decided, do to the packet what the rule does, and go to `finish`. `slot`: of the
        counter; `count`: the named one's label."""
        r = self.registers
        r.set(SLOT, const("i32", slot))
        if self.of.counts:
            r.set(NAMED, const("i32", self.of.slot_numbers["named", count] if count else NO_SLOT))
        if self.of.logs:
            r.set(SAMPLE, const("i32", sample))
        self._effects(does)
        if verdict in self.hook.ends and self.of.rewrites:
            r.set(DSCP, const("i32", NO_DSCP))
        if self.of.answers:
            answered = reply.encoded(answers.PACKETS[does.how]) if verdict == "reject" else 0
            r.set(ANSWER, const("i32", answered))
        value = const("i32", self.hook.verdicts[verdict])
        if self.hook.target == "cgroup" and does.how:
            errno = const("i32", -answers.ERRNOS[does.how])
            self.f.call_helper(effects.BPF_SET_RETVAL, "i64", errno)
        if self.of.proxies:
            r.set(PROXY, const("i32", 0 if does.via is None else does.via.port))
        if verdict == "redirect" and does.via is None:
            value = effects.redirect(self.f, self.variant, self._places(does)[0], does.how)
        self.f.store(value, self.verdict)
        self.f.jump(self.finish)

    def returnable(self, verdict: Value) -> Value:
        """A verdict that comes from memory, as the verifier may see it returned."""
        verdicts = self.hook.verdicts.values()
        return verdict if min(verdicts) < 0 else self.f.op("and", verdict, reduce(or_, verdicts))

    def _effects(self, does: Effects) -> None:
        """What any rule that matches does to the packet."""
        if does.mark is not None:
            effects.mark(self.f, self.hook.context, self.ctx, *does.mark)
        if does.dscp is not None:
            self.registers.set(DSCP, const("i32", does.dscp))

    def _places(self, does: Effects) -> list[int]:
        return [self.plan.devices.index(device) for device in does.into]

    def _leaf(self, leaf: Leaf) -> None:
        if leaf.rule == DEFAULT:
            self.decide(counters.DEFAULT, self.plan.default)
            return
        rule = self._at(leaf.rule)
        if rule.lasts != flows.AGAIN:
            self.registers.set(LASTS, const("i32", flows.LASTS.index(rule.lasts)))
        self.decide(counters.FIRST_RULE + leaf.rule, rule.verdict, rule.count, rule.sample, rule.effects)

    def _at(self, index: int) -> RuleInfo:
        """A rule, whose line the instructions from here on belong to."""
        rule = self.plan.rules[index]
        self.f.at(rule.file, rule.line, rule.column)
        return rule

    def _pass(self, node: Pass, following: Label) -> None:
        """A rule that lets the packet go on leaves its traces here and not in the epilogue, which has one way
        out."""
        f, r = self.f, self.registers
        rule = self._at(node.rule)
        r.set(SLOT, const("i32", counters.FIRST_RULE + node.rule))
        seen = f.alloca("i64", "seen") if rule.sample else None
        state.count(f, r, r.address(SLOT), seen)
        if rule.count:
            r.set(NAMED, const("i32", self.of.slot_numbers["named", rule.count]))
            state.count(f, r, r.address(NAMED))
        if seen is not None:
            self.log(const("i64", rule.sample), seen, f.label("passed"))
        self._effects(rule.effects)
        if rule.verdict == "mirror":
            effects.mirror(f, self.ctx, self._places(rule.effects), rule.effects.how)
        f.jump(following)

    def _classify(self, node: Classify, no: Label) -> None:
        """The rule that a classifier finds decides: its word says its number and its verdict."""
        f, r, one = self.f, self.registers, self.plan.classifier(node.classifier)
        f.at(self.of.main, self.of.line)
        found, decided = f.alloca("i32", "found", 4), f.label("decided")
        key = [r.get(name) for name in one.fields]
        CLASSIFY[one.kind](f, one.name, self.of.trees[one.name], key, one.contents.widths, found, decided, no)
        f.place(decided)
        word = f.load("i32", found)
        rule = f.op("lshr", word, 8)
        r.set(SLOT, f.op("add", rule, counters.FIRST_RULE))
        room = 1 << max(0, len(self.plan.rules) - 1).bit_length()
        at = f.zext(f.op("and", rule, room - 1), "i64")
        for wanted, register, section in (
            (self.of.counts, NAMED, NAMED_OF),
            (self.of.logs, SAMPLE, SAMPLE_OF),
        ):
            if wanted:
                r.set(register, f.load("i32", f.gep(Value("ptr", f"@{section}"), at, "i32")))
        code = self.returnable(f.op("ashr", f.op("shl", word, 24), 24))
        if self.of.answers:
            r.set(ANSWER, const("i32", 0))
        if self.of.proxies:
            r.set(PROXY, const("i32", 0))
        f.store(code, self.verdict)
        if self.of.rewrites:
            for verdict in self.hook.ends:
                gone, goes_on = f.label("gone"), f.label("goes_on")
                f.branch(f.compare("eq", code, self.hook.verdicts[verdict]), gone, goes_on)
                f.place(gone)
                r.set(DSCP, const("i32", NO_DSCP))
                f.jump(goes_on)
                f.place(goes_on)
        f.jump(self.finish)

    def _tag(self, node: Tag, following: Label) -> None:
        f, one = self.f, self.plan.tagging(node.tags)
        f.at(self.of.main, self.of.line)
        key = self.value(node.field)
        tag = TAGS[one.kind](f, one.name, self.of.tags[one.name], key, one.width_bits)
        self.registers.set(TAG.format(field=node.field, tags=node.tags), tag)
        f.jump(following)

    def _admit(self, node: Admit, labels: Mapping[int, Label]) -> None:
        limit = self._at(node.rule).limit
        assert limit is not None  # verified
        yes, no = labels[node.yes], labels[node.no]
        name, number = (f"limit{node.rule}", 0) if limit.per else (BUCKETS, self.of.buckets[node.rule])
        limits.admit(self.f, self.hook.context, self.ctx, self.registers, limit, name, number, yes, no)

    def _destination(self) -> Value | None:
        """At connect, who the call is for: the head of an event's `header`."""
        if self.hook.decoder != "sock_addr":
            return None
        f, r = self.f, self.registers
        room = f.room(32, at=EVENT.size)
        for at in range(0, 32, 8):
            f.store(const("i64", 0), f.gep(room, at))
        f.store(r.get("ip.proto"), f.gep(room, 4))
        f.store(r.get("th.dport"), f.gep(room, 8))
        ip4, ip6, done = f.label("to_ipv4"), f.label("to_ipv6"), f.label("destination")
        f.branch(f.compare("eq", r.get("eth.type"), fields.ETH_P_IP), ip4, ip6)
        f.place(ip4)
        f.store(const("i32", 4), room)
        f.store(f.byteswap(r.get("ip4.dst")), f.gep(room, 16))
        f.jump(done)
        f.place(ip6)
        f.store(const("i32", 6), room)
        address = r.get("ip6.dst")
        f.store(f.byteswap(f.trunc(f.op("lshr", address, 64), "i64")), f.gep(room, 16))
        f.store(f.byteswap(f.trunc(address, "i64")), f.gep(room, 24))
        f.jump(done)
        f.place(done)
        return room

    def _branch(self, node: Branch, labels: Mapping[int, Label]) -> None:
        f = self.f
        if node.rule is not None:
            rule = self.plan.rules[node.rule]
            f.at(rule.file, rule.line, rule.column)
        yes, no = labels[node.yes], labels[node.no]
        if isinstance(node.test, Tagged):
            tag = self.registers.get(TAG.format(field=node.test.field, tags=node.test.tags))
            held = f.op("and", tag, 1 << node.test.member)
            f.branch(f.compare("ne", held, 0), yes, no, self._likely(node))
            return
        value = self.value(node.test.field)
        match node.test:
            case Between(_, low, high) if low == high:
                f.branch(f.compare("eq", value, low), yes, no, self._likely(node))
            case Between(_, low, high):
                above = f.op("sub", value, low) if low else value
                f.branch(f.compare("ule", above, high - low), yes, no, self._likely(node))
            case Masked(_, mask, wanted):
                f.branch(f.compare("eq", f.op("and", value, mask), wanted), yes, no, self._likely(node))
            case InTable(_, name):
                if (answer := self.of.answers_of.get((name, node.test.field))) is not None:
                    register, bit = answer
                    f.branch(f.compare("ne", f.op("and", self.registers.get(register), bit), 0), yes, no)
                    return
                table, image = self.plan.table(name), self.of.images[name]
                if table.live is None:
                    LOOKUPS[table.kind](f, name, image, value, table.width_bits, yes, no)
                    return
                trie = f.load("ptr", self.tries[name]) if name in self.tries else live.trie(f, name, no)
                live.member(f, trie, value, table.width_bits, yes, no)

    def value(self, field: str) -> Value:
        """The value of a field."""
        return self.registers.get(field)

    def _likely(self, node: Branch) -> bool | None:
        """Whether `yes` is the usual way: the way to another rule is, since most rules do not match. With the
        usual way falling through, the verifier explores the general case first and prunes the others. For a
        hot rule the way on is."""
        if node.rule is None:
            return None
        leaves = [self._leads_away(target, node.rule) for target in (node.yes, node.no)]
        return None if leaves[0] == leaves[1] else leaves[0] != (node.rule in self.plan.hot)

    def _leads_away(self, target: int, rule: int) -> bool:
        return self.plan.nodes[target].rule != rule
