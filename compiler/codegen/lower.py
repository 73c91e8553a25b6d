"""Plan to module: one block of LLVM for each node of the plan, behind a decoder and before an epilogue.

The shape of every program: hand over to the predecessor or go on (`emit.generation`) → decode (jumps to
`malformed` or `n0`) → nodes → leaf → `finish` (the rule's own counter, the named one, an event, verdict). The
rules' lines go along as debug locations.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import reduce
from operator import or_

from lockgate import __version__
from lockgate.stdlib_bpf import answers, classifiers, fields, hooks, manifest, tables
from lockgate.stdlib_bpf.effects import NONE, Effects
from lockgate.stdlib_bpf.emit import (
    effects,
    fragments,
    frame,
    generation,
    limits,
    live,
    reply,
    sock_addr,
    state,
)
from lockgate.stdlib_bpf.emit.classifiers import CLASSIFY
from lockgate.stdlib_bpf.emit.llvm import DebugInfo, Function, Label, Value, const
from lockgate.stdlib_bpf.emit.registers import (
    ANSWER,
    DSCP,
    LEFT,
    NAMED,
    NETWORK,
    NO_DSCP,
    NO_SLOT,
    SAMPLE,
    SLOT,
    TRANSPORT,
    Registers,
)
from lockgate.stdlib_bpf.emit.tables import LOOKUPS
from lockgate.stdlib_bpf.state import counters
from lockgate.stdlib_bpf.state.cgroups import CGROUPS, ID_BYTES
from lockgate.stdlib_bpf.state.clock import CLOCK, CLOCK_BYTES
from lockgate.stdlib_bpf.state.devices import DEVICES, IFINDEX_BYTES
from lockgate.stdlib_bpf.state.events import EVENT, RING_BYTES
from lockgate.stdlib_bpf.state.fragments import DEFAULT_MODE
from lockgate.stdlib_bpf.state.generation import NOW, OWN, PREVIOUS
from lockgate.stdlib_bpf.tables.base import DataImage, MapImage

from ..match.ir import RuleInfo
from ..plan.ir import DEFAULT, Admit, Between, Branch, Classifier, Classify, InTable, Leaf, Masked, Pass, Plan
from .maps import MapDefinitions
from .module import DataSection, Module

NAMED_OF, SAMPLE_OF = "named_of", "sample_of"  # sections: of each rule, where classifiers find rules
DECODERS: dict[str, Callable[..., None]] = {"frame": frame.emit, "sock_addr": sock_addr.emit}

_ATTRIBUTES = 'attributes #0 = { nounwind "no-jump-tables"="true" }\n'
_DECLARATIONS = "".join(
    [f"declare i{bits} @llvm.bswap.i{bits}(i{bits})\n" for bits in (16, 32, 64)]
    + [f"declare i64 @llvm.{name}.i64(i64, i64)\n" for name in ("umin", "umax")]
)


def lower(plan: Plan, sources: Mapping[str, str], line: int, index: int) -> Module:
    """Generate the module of a plan. `sources`: text of each file that rules come from, the main one first;
    `line`: of the policy, for code that serves no single rule; `index`: of the chain in the bundle, for
    events."""
    return _Lowering(plan, sources, line, index).module()


def slots_of(plan: Plan) -> tuple[manifest.Slot, ...]:
    """The counter slots of a plan, in the order `stdlib_bpf.state.counters` describes, then `fragments` for
    those that are dropped before any rule, and `lost` for events that found the ring full."""
    hook = hooks.ALL[plan.hook]
    slots = [
        manifest.Slot("malformed", "malformed", hook.malformed),
        manifest.Slot("default", "default", plan.default),
    ]
    slots += [manifest.Slot("rule", r.label, r.verdict, r.file, r.line, r.sample) for r in plan.rules]
    slots += [manifest.Slot("named", name) for name in sorted({r.count for r in plan.rules if r.count})]
    if plan.fragments != DEFAULT_MODE:
        slots.append(manifest.Slot("fragments", "fragments", hook.malformed))
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
        or any(rule.limit is not None for rule in plan.rules)
        or any(table.live is not None for table in plan.tables)
    )


def asked_again(plan: Plan) -> list[str]:
    """Tables of dynamic sets that more than one node asks, in order."""
    asked = Counter(n.test.table for n in plan.nodes if isinstance(n, Branch) and isinstance(n.test, InTable))
    return [table.name for table in plan.tables if table.live is not None and asked[table.name] > 1]


def answers_packets(plan: Plan) -> bool:
    """Whether rejected packets are answered by packets."""
    verdicts = {plan.default, *(rule.verdict for rule in plan.rules)}
    return hooks.ALL[plan.hook].target == "interface" and "reject" in verdicts


def identifier(name: str) -> str:
    """A name as a C identifier."""
    return re.sub(r"\W", "_", name)


def _words(numbers: list[int]) -> bytes:
    """Numbers of 32 bits, little endian."""
    return struct.pack(f"<{len(numbers)}I", *numbers)


class _Lowering:
    """The state of one generation; lives for one call of `lower`."""

    def __init__(self, plan: Plan, sources: Mapping[str, str], line: int, index: int) -> None:
        self.plan, self.line, self.index = plan, line, index
        self.hook = hooks.ALL[plan.hook]
        self.debug = DebugInfo(dict(sources), f"lockgate {__version__}")
        self.slots = slots_of(plan)
        self.slot_numbers = {(s.kind, s.label): i for i, s in enumerate(self.slots) if s.kind != "rule"}
        self.images = {
            t.name: tables.ALL[t.kind].build(t.values, t.width_bits, t.max_entries) for t in plan.tables
        }

        self.trees = {one.name: self._tree(one) for one in plan.classifiers}

    def _tree(self, one: Classifier) -> DataImage:
        """A classifier's memory, with each rule's verdict as the code of its boxes."""
        verdicts, rules = self.hook.verdicts, self.plan.rules
        boxes = tuple(replace(box, code=verdicts[rules[box.rule].verdict] & 0xFF) for box in one.boxes)
        return classifiers.ALL[one.kind].build(replace(one, boxes=boxes).contents)

    def _traces(self) -> list[DataSection]:
        """For classified rules: the slot of the named counter of each, and of how many packets one is
        logged."""
        if not self.plan.classifiers:
            return []
        rules = self.plan.rules
        empty = [0] * ((1 << max(0, len(rules) - 1).bit_length()) - len(rules))
        found = []
        if any(rule.count for rule in rules):
            named = [self.slot_numbers["named", rule.count] if rule.count else NO_SLOT for rule in rules]
            found.append(DataSection(NAMED_OF, _words([*named, *empty]), 4))
        if any(rule.sample for rule in rules):
            found.append(DataSection(SAMPLE_OF, _words([*(rule.sample for rule in rules), *empty]), 4))
        return found

    def module(self) -> Module:
        definitions = MapDefinitions(self.debug)
        definitions.counters(len(self.slots))
        if any(r.sample for r in self.plan.rules):
            definitions.events(RING_BYTES)
        data: list[DataSection] = []
        for index, rule in enumerate(self.plan.rules):
            if rule.limit is not None:
                definitions.limit(f"limit{index}", rule.limit)
        if self.plan.fragments == "track":
            definitions.fragments()
        if asks_the_time(self.plan):
            data.append(DataSection(CLOCK, bytes(CLOCK_BYTES), CLOCK_BYTES))
        redirects = any(rule.verdict == "redirect" for rule in self.plan.rules)
        if redirects and self.hook.name == "xdp":
            definitions.devmap(len(self.plan.devices))
        if self.plan.devices and (self.hook.name != "xdp" or asks(self.plan, "meta.iif")):
            data.append(DataSection(DEVICES, bytes(IFINDEX_BYTES * len(self.plan.devices)), IFINDEX_BYTES))
        if self.plan.cgroups:
            data.append(DataSection(CGROUPS, bytes(ID_BYTES * len(self.plan.cgroups)), ID_BYTES))
        if answers_packets(self.plan):
            definitions.scratch()
        for table in self.plan.tables:
            image = self.images[table.name]
            if table.live is not None:
                definitions.live(table)
            elif isinstance(image, MapImage):
                definitions.table(table, image)
            else:
                data += [DataSection(f"{table.name}_{n}", d, size) for n, d, size in image.sections]
        for name, tree in self.trees.items():
            data += [DataSection(f"{name}_{n}", d, size) for n, d, size in tree.sections]
        data += self._traces()
        data_text = "".join(definitions.data(section) for section in data) + definitions.generation()
        points = self.hook.points[self.plan.direction]
        previous = {p.name: f"{PREVIOUS}_{p.name}" if len(points) > 1 else PREVIOUS for p in points}
        for name in previous.values():
            definitions.previous(name)
        license_text = definitions.license()
        taken = {*definitions.symbols, *(d.name for d in data), NOW, OWN}
        taken |= {*(p.section for p in points), "license", "_license"}  # symbols of sections, too
        functions, texts = [], []
        for point in points:
            name = identifier(self.plan.name) + (f"_{point.name}" if len(points) > 1 else "")
            name += "_" * (name in taken)
            texts.append(self._function(name, point, previous[point.name]))
            functions.append(
                manifest.Function(
                    name,
                    point.name,
                    point.section,
                    point.prog_type,
                    point.load_attach_type,
                    point.link_attach_type,
                    point.load_flags,
                )
            )
        body = "".join([*texts, _DECLARATIONS, _ATTRIBUTES, self.debug.finish()])
        return Module(
            chain=self.plan.name,
            hook=self.plan.hook,
            body=body,
            map_definitions=definitions.text + license_text,
            data_definitions=data_text,
            functions=tuple(functions),
            maps=tuple(definitions.maps),
            images=tuple(definitions.images),
            data=tuple(data),
            slots=self.slots,
            devices=self.plan.devices,
            cgroups=self.plan.cgroups,
            classifier_steps=sum(
                classifiers.ALL[one.kind].steps(self.trees[one.name], one.contents.widths)
                for one in self.plan.classifiers
            ),
        )

    def _function(self, name: str, point: hooks.AttachPoint, previous: str) -> str:
        main = next(iter(self.debug.sources))
        context = self.hook.context
        members = [
            (m.name, self.debug.integer(m.size * 8), m.size, m.offset)
            for m in context.members
            if m.count == 1
        ]
        argument = self.debug.pointer(self.debug.struct(context.name, context.size, members))
        scope = self.debug.subprogram(name, [("ctx", argument)], main, self.line)
        header = f'define i32 @{name}(ptr %ctx) #0 section "{point.section}" !dbg !{scope}'
        f = Function(name, header, self.debug, scope, main)
        f.at(main, self.line)
        f.place(Label("entry"))
        _Program(self, f, point.variant).emit(previous)
        return f.text()


class _Program:
    """One BPF program: generation, decoder, nodes, epilogue."""

    def __init__(self, lowering: _Lowering, f: Function, variant: str) -> None:
        self.l, self.f, self.plan, self.hook, self.variant = (
            lowering,
            f,
            lowering.plan,
            lowering.hook,
            variant,
        )
        self.ctx = Value("ptr", "%ctx")
        self.verdict = f.alloca("i32", "verdict", 4)
        self.logs = any(r.sample for r in self.plan.rules)
        self.counts = any(r.count for r in self.plan.rules)
        self.rewrites = any(r.effects.dscp is not None for r in self.plan.rules)
        self.answers = answers_packets(self.plan)
        self.registers = Registers(f, [*sorted(self._fields_read()), *self._for_effects()])
        self.tries = {name: f.alloca("ptr", "trie") for name in asked_again(self.plan)}
        self.finish = f.label("finish")

    def _fields_read(self) -> set[str]:
        names = {n.test.field for n in self.plan.nodes if isinstance(n, Branch)}
        names |= {name for one in self.plan.classifiers for name in one.fields}
        names |= {name for r in self.plan.rules if r.limit for name in limits.fields_read(r.limit)}
        names |= fragments.registers_of(self.plan.fragments)
        if self.hook.decoder == "sock_addr" and self.logs:
            names |= {"ip4.dst", "ip6.dst", "th.dport"}
        return names

    def _for_effects(self) -> list[str]:
        """Registers for what rules do to packets."""
        return [DSCP, NETWORK] * self.rewrites + [ANSWER, NETWORK, TRANSPORT, LEFT] * self.answers

    def emit(self, previous: str) -> None:
        f = self.f
        generation.emit(f, self.ctx, previous)
        labels = [Label(f"n{i}") for i in range(len(self.plan.nodes))]
        malformed = f.label("malformed")
        decoded = labels[0] if self._usual else f.label("fragments")
        DECODERS[self.hook.decoder](
            f, self.hook.context, self.variant, self.ctx, self.registers, decoded, malformed
        )
        f.place(malformed)
        self._decide(counters.MALFORMED, self.hook.malformed)
        if not self._usual:
            refused = f.label("refused_fragment")
            f.place(decoded)
            fragments.emit(f, self.registers, self.plan.fragments, labels[0], refused)
            f.place(refused)
            self._decide(self.l.slot_numbers["fragments", "fragments"], self.hook.malformed)
        asked = any(asks(self.plan, field) for field in ("meta.iif", "sock.cgroup"))
        if asked or self.rewrites or self.tries:
            f.place(labels[0])
            labels[0] = f.label("rules")
            self._before_rules(malformed)
            f.jump(labels[0])
        for number, node in enumerate(self.plan.nodes):
            f.place(labels[number])
            match node:
                case Leaf():
                    self._leaf(node)
                case Branch():
                    self._branch(node, labels)
                case Admit():
                    self._admit(node, labels)
                case Pass():
                    self._pass(node, labels[node.next])
                case Classify():
                    self._classify(node, labels[node.no])
        self._epilogue()

    @property
    def _usual(self) -> bool:
        """Whether fragments go from the decoder straight to the rules."""
        return self.plan.fragments == DEFAULT_MODE

    def _before_rules(self, never: Label) -> None:
        """What is known of a packet besides what the decoder reads, and the dynamic sets that it may be asked
        about more than once: all answers come from one list. `never`: where no run ends up."""
        if self.rewrites:
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
        f.at(next(iter(self.l.debug.sources)), self.l.line)
        f.place(self.finish)
        seen = f.alloca("i64", "seen") if self.logs else None
        state.count(f, r, r.address(SLOT), seen)
        if self.counts:
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
            self._log(f.zext(r.get(SAMPLE), "i64"), seen, done)
        if self.rewrites:
            self._rewrite()
        if self.answers:
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

    def _log(self, sample: Value, seen: Value, done: Label) -> None:
        """Send an event for the first of every `sample` packets that a counter has seen; ends at `done`."""
        f, log = self.f, self.f.label("log")
        f.branch(f.compare("eq", f.op("urem", f.load("i64", seen), sample), 0), log, done)
        f.place(log)
        lost = self.l.slot_numbers["lost", "lost events"]
        state.log(
            f,
            self.hook.context,
            self.variant,
            self.ctx,
            self.l.index,
            lost,
            self.registers,
            self._destination(),
        )
        f.jump(done)
        f.place(done)

    def _decide(
        self, slot: int, verdict: str, count: str | None = None, sample: int = 0, does: Effects = NONE
    ) -> None:
        r = self.registers
        r.set(SLOT, const("i32", slot))
        if self.counts:
            r.set(NAMED, const("i32", self.l.slot_numbers["named", count] if count else NO_SLOT))
        if self.logs:
            r.set(SAMPLE, const("i32", sample))
        self._effects(does)
        if verdict in self.hook.ends and self.rewrites:
            r.set(DSCP, const("i32", NO_DSCP))
        if self.answers:
            answered = reply.encoded(answers.PACKETS[does.how]) if verdict == "reject" else 0
            r.set(ANSWER, const("i32", answered))
        value = const("i32", self.hook.verdicts[verdict])
        if self.hook.target == "cgroup" and does.how:
            errno = const("i32", -answers.ERRNOS[does.how])
            self.f.call_helper(effects.BPF_SET_RETVAL, "i64", errno)
        if verdict == "redirect":
            value = effects.redirect(self.f, self.variant, self._places(does)[0], does.how)
        self.f.store(value, self.verdict)
        self.f.jump(self.finish)

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
            self._decide(counters.DEFAULT, self.plan.default)
            return
        rule = self._at(leaf.rule)
        self._decide(counters.FIRST_RULE + leaf.rule, rule.verdict, rule.count, rule.sample, rule.effects)

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
            r.set(NAMED, const("i32", self.l.slot_numbers["named", rule.count]))
            state.count(f, r, r.address(NAMED))
        if seen is not None:
            self._log(const("i64", rule.sample), seen, f.label("passed"))
        self._effects(rule.effects)
        if rule.verdict == "mirror":
            effects.mirror(f, self.ctx, self._places(rule.effects), rule.effects.how)
        f.jump(following)

    def _classify(self, node: Classify, no: Label) -> None:
        """The rule that a classifier finds decides: its word says its number and its verdict."""
        f, r, one = self.f, self.registers, self.plan.classifier(node.classifier)
        f.at(next(iter(self.l.debug.sources)), self.l.line)
        found, decided = f.alloca("i32", "found", 4), f.label("decided")
        key = [r.get(name) for name in one.fields]
        CLASSIFY[one.kind](f, one.name, self.l.trees[one.name], key, one.contents.widths, found, decided, no)
        f.place(decided)
        word = f.load("i32", found)
        rule = f.op("lshr", word, 8)
        r.set(SLOT, f.op("add", rule, counters.FIRST_RULE))
        room = 1 << max(0, len(self.plan.rules) - 1).bit_length()
        at = f.zext(f.op("and", rule, room - 1), "i64")
        for wanted, register, section in ((self.counts, NAMED, NAMED_OF), (self.logs, SAMPLE, SAMPLE_OF)):
            if wanted:
                r.set(register, f.load("i32", f.gep(Value("ptr", f"@{section}"), at, "i32")))
        verdicts = self.hook.verdicts.values()
        if min(verdicts) < 0:
            code = f.op("ashr", f.op("shl", word, 24), 24)
        else:  # the verifier must see that no other value is returned
            code = f.op("and", word, reduce(or_, verdicts))
        if self.answers:
            r.set(ANSWER, const("i32", 0))
        f.store(code, self.verdict)
        if self.rewrites:
            for verdict in self.hook.ends:
                gone, goes_on = f.label("gone"), f.label("goes_on")
                f.branch(f.compare("eq", code, self.hook.verdicts[verdict]), gone, goes_on)
                f.place(gone)
                r.set(DSCP, const("i32", NO_DSCP))
                f.jump(goes_on)
                f.place(goes_on)
        f.jump(self.finish)

    def _admit(self, node: Admit, labels: list[Label]) -> None:
        limit = self._at(node.rule).limit
        assert limit is not None  # verified
        yes, no = labels[node.yes], labels[node.no]
        limits.admit(self.f, self.hook.context, self.ctx, self.registers, limit, f"limit{node.rule}", yes, no)

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

    def _branch(self, node: Branch, labels: list[Label]) -> None:
        f = self.f
        if node.rule is not None:
            rule = self.plan.rules[node.rule]
            f.at(rule.file, rule.line, rule.column)
        yes, no = labels[node.yes], labels[node.no]
        value = self.registers.get(node.test.field)
        match node.test:
            case Between(_, low, high) if low == high:
                f.branch(f.compare("eq", value, low), yes, no, self._likely(node))
            case Between(_, low, high):
                above = f.op("sub", value, low) if low else value
                f.branch(f.compare("ule", above, high - low), yes, no, self._likely(node))
            case Masked(_, mask, wanted):
                f.branch(f.compare("eq", f.op("and", value, mask), wanted), yes, no, self._likely(node))
            case InTable(_, name):
                table, image = self.plan.table(name), self.l.images[name]
                if table.live is None:
                    LOOKUPS[table.kind](f, name, image, value, table.width_bits, yes, no)
                    return
                trie = f.load("ptr", self.tries[name]) if name in self.tries else live.trie(f, name, no)
                live.member(f, trie, value, table.width_bits, yes, no)

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
