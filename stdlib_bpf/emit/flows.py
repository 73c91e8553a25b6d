"""Emits the flow table (`state.flows`): which flow a packet belongs to, whether that decides, and what the
rules' decision leaves behind. Steps and times are read from the tables that the reference reads.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass

from ..decode.frame import WHOLE
from ..decode.quote import BEHIND_BYTES, ERRORS, HEADER_BYTES, ICMP_OF
from ..fields import ETH_P_IP, ETH_P_IPV6, IPPROTO_TCP, PEER, SUBJECT, WITH_PORTS
from ..labels import WORKLOAD
from ..state import flows
from ..state.events import CLOSED, DENIED, SILENT
from ..state.flows import CONFIRMED, FINS, FLOW, FLOWS, KEY, KIND_OF, MARKS, OPENINGS, OTHER, RSTS
from . import flow_events
from .endpoints import BPF_MAP_LOOKUP_ELEM, FREE, Ends
from .flow_events import Told
from .llvm import NULL, Function, Label, Value, const
from .registers import COUNTED, ECHO, FATE, LASTS, LEFT, TRANSPORT, Registers

BPF_MAP_UPDATE_ELEM, BPF_MAP_DELETE_ELEM, BPF_SKB_LOAD_BYTES = 2, 3, 26
BPF_ANY, BPF_NOEXIST = 0, 1
STEPS, BEGINNINGS, TIMEOUTS = "flow_steps", "flow_beginnings", "flow_timeouts"
# What is no field: the flow's state and the following one, and the packet's flags for STEPS.
STATE, NEXT, FLAGS = "flow.state", "flow.next", "flow.flags"
ETH_TYPE = {4: ETH_P_IP, 6: ETH_P_IPV6}
# Values of FATE; OVER: new, in the place of one in FLOWS; and of what a packet has done: it began a
# flow, or confirmed one, which is to be listed for expiry, or would have and there was no room.
NONE, NEW, OVER, RENEW, BROKEN, BEGUN, ENLIST, FULL = range(8)
REGISTERS = frozenset(
    {"th.sport", "th.dport", "tcp.flags", "icmp.type", "icmp6.type", ECHO, TRANSPORT, LEFT}
    | {FATE, STATE, NEXT, FLAGS, LASTS}
)
TABLES: dict[str, tuple[bytes, int]] = {
    STEPS: (flows.STEPS, 1),
    BEGINNINGS: (flows.BEGINNINGS, 1),
    TIMEOUTS: (struct.pack(f"<{len(flows.TIMEOUTS_NS)}Q", *flows.TIMEOUTS_NS), 8),
}


@dataclass(frozen=True)
class Ways:
    """Where a packet goes: its flow decides (`known`), or the one that it reports an error of (`follows`), it
    is invalid, or the rules must be asked."""

    known: Label
    follows: Label
    invalid: Label
    ask: Label


class Flow:
    """The parts of one program, around the ends of its packets."""

    def __init__(self, ends: Ends, told: Told | None) -> None:
        """`told`: where ends of flows are told of, None where no rule logs."""
        self.ends, self.told = ends, told
        self.f: Function = ends.f
        self.r: Registers = ends.registers
        self.entry = self.f.alloca("ptr", "flow")

    # ---- which flow ----

    def find(self, ways: Ways) -> None:
        """Complete the key and look it up; begins in the current block."""
        f = self.f
        looked, keyless = f.label("find_flow"), f.label("of_no_flow")
        self.flags()
        self._ports(looked, keyless, ways)
        f.place(keyless)
        f.jump(ways.ask)
        f.place(looked)
        known, unknown, opening = f.label("known_flow"), f.label("unknown_flow"), f.label("maybe_opening")
        self._look_up(self.ends.at("key"), known, unknown, opening)
        f.place(unknown)
        self._begins(NEW, ways)
        f.place(known)
        self._known(ways)

    def _look_up(self, key: Value, known: Label, unknown: Label, opening: Label) -> None:
        """Leave the entry and, in STATE, which table it lies in."""
        f, r = self.f, self.r
        for table, state, missing in ((FLOWS, CONFIRMED, opening), (OPENINGS, 0, unknown)):
            found = f.label(f"in_{table}")
            entry = f.call_helper(BPF_MAP_LOOKUP_ELEM, "ptr", Value("ptr", f"@{table}"), key)
            f.branch(f.compare("ne", entry, NULL), found, missing, likely=table == FLOWS)
            f.place(found)
            f.store(entry, self.entry)
            r.set(STATE, const("i32", state))
            f.jump(known)
            if missing is opening:
                f.place(opening)

    def flags(self) -> None:
        """FLAGS: of TCP; ACK for others."""
        f, r = self.f, self.r
        tcp, done = f.label("tcp_flags"), f.label("flags_done")
        r.set(FLAGS, const("i32", flows.ACK))
        f.branch(f.compare("eq", r.get("ip.proto"), IPPROTO_TCP), tcp, done)
        f.place(tcp)
        flags = r.get("tcp.flags")
        bits = f.op("or", f.op("and", flags, 7), f.op("and", f.op("lshr", flags, 1), 8))
        r.set(FLAGS, bits)
        f.jump(done)
        f.place(done)

    def opens(self) -> None:
        """The field `flow.opens`, which only rules ask for (`state.flows.opens`). No flow begins with the
        answer to an echo."""
        f, r = self.f, self.r
        tcp, four, six, reply, none, no, done = (
            f.label(n)
            for n in ("of_tcp", "of_icmp4", "of_icmp6", "is_reply", "begins_none", "opens_not", "opens")
        )
        r.set("flow.opens", const("i32", 1))
        f.switch(r.get("ip.proto"), done, [(IPPROTO_TCP, tcp), (ICMP_OF[4], four), (ICMP_OF[6], six)])
        f.place(tcp)
        f.branch(f.compare("eq", r.get(FLAGS), flows.SYN), done, no)
        for label, family, type_ in ((four, 4, "icmp.type"), (six, 6, "icmp6.type")):
            f.place(label)
            own = f.label("opens_of_icmp")
            f.branch(f.compare("eq", r.get("eth.type"), ETH_TYPE[family]), own, done, likely=True)
            f.place(own)
            f.branch(f.compare("eq", r.get(type_), flows.REPLY[family]), reply, done)
        f.place(reply)
        f.branch(f.compare("eq", r.get(FATE), RENEW), no, none)
        f.place(none)
        r.set(FATE, const("i32", NONE))
        f.jump(no)
        f.place(no)
        r.set("flow.opens", const("i32", 0))
        f.jump(done)
        f.place(done)

    def _ports(self, looked: Label, keyless: Label, ways: Ways) -> None:
        """The rest of the key, by protocol. An ICMP error that follows a known flow ends here."""
        f, r, ends = self.f, self.r, self.ends
        ports, echo = f.label("ports"), f.label("icmp_or_not")
        protocol = r.get("ip.proto")
        f.store(protocol, ends.in_key("protocol"))
        f.store(const("i32", 0), ends.in_key("subject_port"))  # and the peer's
        with_ports = [(number, ports) for number, _ in WITH_PORTS.ranges]
        f.switch(protocol, looked, [*with_ports, *((n, echo) for n in ICMP_OF.values())])
        f.place(ports)
        for name, member in (("th.sport", self._source), ("th.dport", self._destination)):
            f.store(f.trunc(r.get(name), "i16"), ends.in_key(member))
        f.jump(looked)
        f.place(echo)
        four, six = f.label("icmp_of_4"), f.label("icmp_of_6")
        f.branch(f.compare("eq", r.get("eth.type"), ETH_P_IP), four, six)
        for label, family, type_ in ((four, 4, "icmp.type"), (six, 6, "icmp6.type")):
            f.place(label)
            own = f.label("own_icmp")
            f.branch(f.compare("eq", protocol, ICMP_OF[family]), own, looked, likely=True)
            f.place(own)
            asks, answers, fails = (f.label(n) for n in ("echo_request", "echo_reply", "icmp_error"))
            kinds = [(flows.REQUEST[family], asks), (flows.REPLY[family], answers)]
            f.switch(r.get(type_), keyless, [*kinds, *((n, fails) for n in ERRORS[family])])
            f.place(asks)
            f.store(f.trunc(r.get(ECHO), "i16"), ends.in_key(self._source))
            f.jump(looked)
            f.place(answers)
            f.store(f.trunc(r.get(ECHO), "i16"), ends.in_key(self._destination))
            f.jump(looked)
            f.place(fails)
            self._quote(family, keyless, ways.follows)

    @property
    def _source(self) -> str:
        return "subject_port" if self.ends.sends else "peer_port"

    @property
    def _destination(self) -> str:
        return "peer_port" if self.ends.sends else "subject_port"

    # ---- what an error quotes ----

    def _quote(self, family: int, keyless: Label, follows: Label) -> None:
        """Look up the flow of the packet that an error quotes; an error that speaks of none is a packet like
        others."""
        f, r, ends = self.f, self.r, self.ends
        whole, left = f.label("whole_error"), f.zext(r.get(LEFT), "i64")
        f.branch(f.compare("eq", r.get("ip.fragment"), WHOLE), whole, keyless, likely=True)
        f.place(whole)
        start = f.op("add", r.get(TRANSPORT), BEHIND_BYTES)  # behind the error's own eight bytes
        head, behind = ends.at("quote"), ends.at("quote", 40)
        size = const("i64", HEADER_BYTES[family])
        self._load(start, head, HEADER_BYTES[family], left, size, keyless)
        first = f.zext(f.load("i8", head), "i64")
        self._require(f.compare("eq", f.op("lshr", first, 4), family), keyless)
        if family == 4:
            size = f.op("shl", f.op("and", first, 15), 2)
            self._require(f.compare("uge", size, HEADER_BYTES[4]), keyless)
            place = f.byteswap(f.load("i16", f.gep(head, 6)))
            self._require(f.compare("eq", f.op("and", place, 0x1FFF), 0), keyless)
        after = f.op("add", size, BEHIND_BYTES)
        at = f.op("add", start, f.trunc(size, "i32"))
        self._load(at, behind, BEHIND_BYTES, left, after, keyless)
        # The quoted packet goes the other way: its source is the error's destination.
        self._same_address(family, head, "src", "dst", keyless)
        if ends.sends:
            self._same_address(family, head, "dst", "src", keyless)
        self._quoted_key(family, head, behind, keyless)
        known, opening = f.label("quoted_flow"), f.label("quoted_opening")
        self._look_up(ends.at("flow"), known, keyless, opening)
        f.place(known)
        entry = f.load("ptr", self.entry)
        alive, current = f.label("quoted_alive"), f.label("quoted_current")
        state = self._state(entry)
        f.branch(self.lives(entry, state), alive, keyless, likely=True)
        f.place(alive)
        f.branch(self._is_current(entry), current, keyless, likely=True)
        f.place(current)
        f.jump(follows)

    def _load(self, at: Value, to: Value, size: int, left: Value, end: Value, short: Label) -> None:
        """Copy bytes of the packet; `end`: how many behind the error's header must be there."""
        f = self.f
        self._require(f.compare("uge", left, f.op("add", end, BEHIND_BYTES)), short)
        failed = f.call_helper(BPF_SKB_LOAD_BYTES, "i64", self.ends.ctx, at, to, const("i32", size))
        self._require(f.compare("eq", failed, 0), short)

    def _require(self, condition: Value, otherwise: Label) -> None:
        good = self.f.label("quoted")
        self.f.branch(condition, good, otherwise, likely=True)
        self.f.place(good)

    def _same_address(self, family: int, head: Value, theirs: str, ours: str, no: Label) -> None:
        f, r = self.f, self.r
        at = {(4, "src"): 12, (4, "dst"): 16, (6, "src"): 8, (6, "dst"): 24}[family, theirs]
        if family == 4:
            quoted = f.byteswap(f.load("i32", f.gep(head, at)))
            self._require(f.compare("eq", quoted, r.get(f"ip4.{ours}")), no)
            return
        for half in (0, 1):
            quoted = f.byteswap(f.load("i64", f.gep(head, at + 8 * half)))
            own = f.load("i64", r.address(f"ip6.{ours}", half), volatile=True)
            self._require(f.compare("eq", quoted, own), no)

    def _quoted_key(self, family: int, head: Value, behind: Value, keyless: Label) -> None:
        """The key of the quoted packet's flow, where an image of a flow will lie later."""
        f, ends = self.f, self.ends

        def put(member: str, value: Value, offset: int = 0) -> None:
            f.store(value, ends.at("flow", KEY.offset(member) + offset))

        sends = not ends.sends  # of the quoted packet
        src, dst = (SUBJECT, PEER) if sends else (PEER, SUBJECT)
        for member, at in ((src, 12 if family == 4 else 8), (dst, 16 if family == 4 else 24)):
            if family == 4:
                put(member, const("i64", 0))
                put(member, f.zext(f.byteswap(f.load("i32", f.gep(head, at))), "i64"), 8)
            else:
                for half in (0, 8):
                    put(member, f.byteswap(f.load("i64", f.gep(head, at + half))), half)
        protocol = f.zext(f.load("i8", f.gep(head, 9 if family == 4 else 6)), "i32")
        put("ifindex", f.load("i32", ends.in_key("ifindex")))
        put("protocol", protocol)
        put("family", const("i32", family))
        put("subject_port", const("i32", 0))
        ports, icmp, done = f.label("quoted_ports"), f.label("quoted_icmp"), f.label("quoted_key")
        of_ports = [(number, ports) for number, _ in WITH_PORTS.ranges]
        f.switch(protocol, done, [*of_ports, (ICMP_OF[family], icmp)])
        f.place(ports)
        for at, end in ((0, src), (2, dst)):
            put(f"{end}_port", f.byteswap(f.load("i16", f.gep(behind, at))))
        f.jump(done)
        f.place(icmp)
        asks, answers = f.label("quoted_request"), f.label("quoted_reply")
        type_ = f.zext(f.load("i8", behind), "i32")
        f.switch(type_, keyless, [(flows.REQUEST[family], asks), (flows.REPLY[family], answers)])
        for label, end in ((asks, src), (answers, dst)):
            f.place(label)
            put(f"{end}_port", f.byteswap(f.load("i16", f.gep(behind, 4))))
            f.jump(done)
        f.place(done)

    # ---- a flow that is there ----

    def _state(self, entry: Value) -> Value:
        """The state (i32), 7 bits."""
        f = self.f
        marks = f.op("and", f.load("i32", f.gep(entry, FLOW.offset("marks"))), MARKS)
        return f.op("or", marks, f.op("and", self.r.get(STATE), CONFIRMED))

    def lives(self, entry: Value, state: Value) -> Value:
        """Whether it has not been silent for too long; another CPU may have heard from it later than now."""
        f = self.f
        kind = f.op("and", f.load("i32", f.gep(entry, FLOW.offset("kind"))), 3)
        index = f.zext(f.op("or", f.op("shl", kind, 7), state), "i64")
        limit = f.load("i64", f.gep(Value("ptr", f"@{TIMEOUTS}"), index, "i64"))
        seen = f.load("i64", f.gep(entry, FLOW.offset("seen_ns")))
        silent = f.op("sub", f.load("i64", self.ends.at("now")), seen)
        return f.compare("slt", silent, limit)

    def _known(self, ways: Ways) -> None:
        """A flow that is there: follow it, unless it is too old or must be judged again."""
        f, r, ends = self.f, self.r, self.ends
        entry = f.load("ptr", self.entry)
        state = self._state(entry)
        alive, silent = f.label("alive"), f.label("silent")
        f.branch(self.lives(entry, state), alive, silent, likely=True)
        f.place(silent)
        self._replaced(state, ways)
        f.place(alive)
        opener, following = self._step(entry, state, ends.sends)
        usual, special = f.label("usual_step"), f.label("special_step")
        f.branch(f.compare("ult", following, flows.ASK), usual, special, likely=True)
        f.place(usual)
        current, old = f.label("judged_now"), f.label("judged_before")
        f.branch(self._is_current(entry), current, old, likely=True)
        f.place(current)
        self.touch(ends.at("key"), entry, state, following, ends.sends)
        f.jump(ways.known)
        f.place(old)
        r.set(FATE, const("i32", RENEW))
        r.set(NEXT, following)
        r.set("flow.direction", f.op("and", opener, 1))
        f.jump(ways.ask)
        f.place(special)
        asked, broken = f.label("opens_again"), f.label("impossible")
        f.branch(f.compare("eq", following, flows.ASK), asked, broken)
        f.place(broken)
        outdated = f.label("impossible_before")
        f.branch(self._is_current(entry), ways.invalid, outdated)
        f.place(outdated)
        r.set(FATE, const("i32", BROKEN))
        f.jump(ways.ask)
        f.place(asked)
        over = f.label("over")
        resets, fins = f.op("and", state, RSTS), f.op("and", state, FINS)
        more = f.label("over_by_fin")
        f.branch(f.compare("ne", resets, 0), over, more)
        f.place(more)
        f.branch(f.compare("eq", fins, FINS), over, ways.ask)
        f.place(over)
        self._replaced(state, ways)

    def _step(self, entry: Value, state: Value, sends: bool) -> tuple[Value, Value]:
        """Who opened the flow, and what STEPS says (i32 each). `sends`: whether the flow's subject sends."""
        f = self.f
        opener = f.load("i32", f.gep(entry, FLOW.offset("opener")))
        side = f.zext(f.compare("ne", opener, int(sends)), "i32")
        bits = f.op("and", self.r.get(FLAGS), 15)
        index = f.op("or", f.op("or", f.op("shl", state, 5), f.op("shl", side, 4)), bits)
        found = f.load("i8", f.gep(Value("ptr", f"@{STEPS}"), f.zext(index, "i64")))
        return opener, f.zext(found, "i32")

    def takes(self, key: Value, sends: bool, no: Label) -> tuple[Value, Value, Value]:
        """Entry, state and next state of a confirmed flow that takes the packet by itself; else go to `no`.
        `sends`: whether the flow's subject sends it."""
        f = self.f
        entry = self.ends.look_up(FLOWS, key, no, "far_flow")
        marks = f.op("and", f.load("i32", f.gep(entry, FLOW.offset("marks"))), MARKS)
        state = f.op("or", marks, CONFIRMED)
        _, following = self._step(entry, state, sends)
        for condition in (
            self.lives(entry, state),
            self._is_current(entry),
            f.compare("ult", following, flows.ASK),
        ):
            good = f.label("takes")
            f.branch(condition, good, no, likely=True)
            f.place(good)
        return entry, state, following

    def _is_current(self, entry: Value) -> Value:
        f = self.f
        epoch = f.load("i64", f.gep(entry, FLOW.offset("epoch")))
        current = f.compare("eq", epoch, f.load("i64", self.ends.at("epoch")))
        return f.op("or", current, f.compare("eq", epoch, const("i64", flows.FOR_GOOD)))

    def _makes(self, what: str) -> Value:
        """Whether this is what the deciding rule makes, of `flows.LASTS`."""
        return self.f.compare("eq", self.r.get(LASTS), flows.LASTS.index(what))

    def _epoch(self) -> Value:
        """Of the judgement that has been made."""
        f = self.f
        kept = f.zext(self._makes(flows.KEPT), "i64")
        return f.op("or", f.load("i64", self.ends.at("epoch")), f.op("sub", const("i64", 0), kept))

    def _replaced(self, state: Value, ways: Ways) -> None:
        """A new flow takes the place of a known one."""
        f, confirmed, opening = self.f, self.f.label("over_flow"), self.f.label("over_opening")
        f.branch(f.compare("ne", f.op("and", state, CONFIRMED), 0), confirmed, opening)
        for label, fate in ((confirmed, OVER), (opening, NEW)):
            f.place(label)
            self._begins(fate, ways)

    def _begins(self, fate: int, ways: Ways) -> None:
        """A flow would begin with this packet, if it can."""
        f, r = self.f, self.r
        bits = f.zext(f.op("and", r.get(FLAGS), 15), "i64")
        first = f.zext(f.load("i8", f.gep(Value("ptr", f"@{BEGINNINGS}"), bits)), "i32")
        possible = f.label("may_begin")
        f.branch(f.compare("ult", first, flows.ASK), possible, ways.ask, likely=True)
        f.place(possible)
        r.set(FATE, const("i32", fate))
        r.set(NEXT, first)
        f.jump(ways.ask)

    def touch(self, key: Value, entry: Value, state: Value, following: Value, sends: bool) -> None:
        """A packet belongs to the flow (`state.flows.Flow.touch`); one that has become confirmed moves.
        `sends`: whether the flow's subject sends it."""
        f, r, ends = self.f, self.r, self.ends
        for name, by in (("packets", const("i64", 1)), ("bytes", f.zext(r.get(COUNTED), "i64"))):
            counter = f.gep(entry, FLOW.offset(name) + 8 * int(sends))
            f.store(f.op("add", f.load("i64", counter), by), counter)
        same, changed, seen, done = (f.label(n) for n in ("same_state", "new_state", "heard", "touched"))
        f.branch(f.compare("eq", following, state), same, changed, likely=True)
        f.place(same)
        ending = f.label("same_end")
        f.branch(f.compare("eq", f.op("and", state, RSTS | FINS), 0), seen, ending, likely=True)
        f.place(ending)
        half = f.label("half_closed")
        f.branch(f.compare("eq", f.op("and", state, RSTS), 0), half, done)
        f.place(half)
        f.branch(f.compare("eq", f.op("and", state, FINS), FINS), done, seen)
        f.place(changed)
        f.store(f.op("and", following, MARKS), f.gep(entry, FLOW.offset("marks")))
        self._closes(key, entry, state, following)
        moves, stays = f.label("confirms"), f.label("stays")
        f.branch(f.compare("ugt", following, f.op("or", state, MARKS)), moves, stays, likely=False)
        f.place(moves)
        now = f.load("i64", ends.at("now"))
        f.store(now, f.gep(entry, FLOW.offset("seen_ns")))
        key, table = ends.at("key"), Value("ptr", f"@{FLOWS}")
        refused = f.call_helper(BPF_MAP_UPDATE_ELEM, "i64", table, key, entry, const("i64", BPF_NOEXIST))
        moved, stuck, full = f.label("moved"), f.label("stuck"), f.label("table_full")
        f.branch(f.compare("eq", refused, 0), moved, stuck, likely=True)
        f.place(stuck)
        f.branch(f.compare("eq", refused, -errno.EEXIST), done, full)  # another CPU was first
        f.place(full)
        r.set(FATE, const("i32", FULL))
        f.jump(done)
        f.place(moved)
        self._delete(OPENINGS)
        r.set(FATE, const("i32", ENLIST))
        f.jump(done)
        f.place(stays)
        f.jump(seen)
        f.place(seen)
        f.store(f.load("i64", ends.at("now")), f.gep(entry, FLOW.offset("seen_ns")))
        f.jump(done)
        f.place(done)

    # ---- what is told of its end ----

    def _let_in(self, slot: Value) -> None:
        """Keep the rule, if it logs."""
        if self.told is not None:
            self.f.store(flow_events.slot_of(self.ends), slot)

    def _closes(self, key: Value, entry: Value, before: Value, after: Value) -> None:
        """Tell of a flow that the packet closes."""
        if self.told is None:
            return
        f, open_, closed, done = (
            self.f,
            self.f.label("was_open"),
            self.f.label("closes"),
            self.f.label("said"),
        )
        self._if_over(before, done, open_)
        f.place(open_)
        self._if_over(after, closed, done)
        f.place(closed)
        flow_events.ended(self.ends, self.told, key, entry, CLOSED)
        f.jump(done)
        f.place(done)

    def _if_over(self, state: Value, yes: Label, no: Label) -> None:
        """`state.flows.closed`."""
        f, fins = self.f, self.f.label("fins")
        f.branch(f.compare("eq", f.op("and", state, RSTS), 0), fins, yes)
        f.place(fins)
        f.branch(f.compare("eq", f.op("and", state, FINS), FINS), yes, no)

    def _farewell(self, why: int) -> None:
        """Tell of a confirmed flow that goes."""
        if self.told is None:
            return
        f, done, key = self.f, self.f.label("said_farewell"), self.ends.at("key")
        self.goes(key, self.ends.look_up(FLOWS, key, done, "goes"), why)
        f.jump(done)
        f.place(done)

    def goes(self, key: Value, entry: Value, why: int) -> None:
        """Tell of a confirmed flow that leaves the table, unless it has been closed, which was told."""
        if self.told is None:
            return
        f, tell, done = self.f, self.f.label("not_closed"), self.f.label("gone")
        self._if_over(f.load("i32", f.gep(entry, FLOW.offset("marks"))), done, tell)
        f.place(tell)
        flow_events.ended(self.ends, self.told, key, entry, why)
        f.jump(done)
        f.place(done)

    def _delete(self, table: str) -> None:
        self.f.call_helper(BPF_MAP_DELETE_ELEM, "i64", Value("ptr", f"@{table}"), self.ends.at("key"))

    # ---- around the rules ----

    def as_opened(self, invalid: Label) -> None:
        """Make the registers speak of the packet that opened the flow, where the flow is to be judged again
        (`state.flows.as_opened`)."""
        f, r, ends = self.f, self.r, self.ends
        renew, turn, turned, done = (f.label(n) for n in ("rejudge", "turn", "turned", "as_opened"))
        f.switch(r.get(FATE), done, [(RENEW, renew), (BROKEN, invalid)])
        f.place(renew)
        f.branch(f.compare("eq", r.get("flow.direction"), int(ends.sends)), turned, turn)
        f.place(turn)
        for name in ("ip4", "th"):
            one, two = ("src", "dst") if name == "ip4" else ("sport", "dport")
            first, second = r.get(f"{name}.{one}"), r.get(f"{name}.{two}")
            r.set(f"{name}.{one}", second)
            r.set(f"{name}.{two}", first)
        words = {
            (side, half): f.load("i64", r.address(f"ip6.{side}", half), volatile=True)
            for side in ("src", "dst")
            for half in (0, 1)
        }
        for side, other in (("src", "dst"), ("dst", "src")):
            r.set_wide(f"ip6.{side}", words[other, 0], words[other, 1])
        f.jump(turned)
        f.place(turned)
        r.set("tcp.flags", const("i32", 0x02))
        r.set("icmp.type", const("i32", flows.REQUEST[4]))
        r.set("icmp6.type", const("i32", flows.REQUEST[6]))
        r.set("flow.opens", const("i32", 1))
        f.jump(done)
        f.place(done)

    def free(self, free: Label) -> None:
        """Go to `free` for a flow that this host begins with a workload of its own."""
        f, r, maybe, no = self.f, self.r, self.f.label("maybe_free"), self.f.label("not_free")
        f.branch(f.compare("eq", r.get(FREE), 1), maybe, no, likely=False)
        f.place(maybe)
        way = int(self.ends.kind != WORKLOAD)
        f.branch(f.compare("eq", r.get("flow.direction"), way), free, no)
        f.place(no)

    def settle(self, verdict: Value, allow: int, done: Label) -> None:
        """Begin, renew or end the flow, as the decision says; ends at `done`. `verdict`: where it lies,
        `allow`: what it is when the packet passes."""
        f, r, ends = self.f, self.r, self.ends
        concerned, passes, keeps, gone = (f.label(n) for n in ("concerned", "passes", "keeps", "keeps_not"))
        lasting = f.op("sub", r.get(FATE), NEW)
        f.branch(f.compare("ule", lasting, RENEW - NEW), concerned, done, likely=False)
        f.place(concerned)
        f.branch(f.compare("eq", f.load("i32", verdict), allow), passes, gone, likely=True)
        f.place(passes)
        f.branch(self._makes(flows.STATELESS), gone, keeps, likely=False)
        f.place(gone)
        end = f.label("end_flow")
        f.branch(f.compare("eq", r.get(FATE), RENEW), end, done)
        f.place(end)
        self._farewell(DENIED)
        self._delete(FLOWS)
        self._delete(OPENINGS)
        f.jump(done)
        f.place(keeps)
        begin, over, renew = f.label("begin_flow"), f.label("in_its_place"), f.label("renew_flow")
        f.switch(r.get(FATE), done, [(NEW, begin), (OVER, over), (RENEW, renew)])
        f.place(over)
        self._farewell(SILENT)
        self._delete(FLOWS)
        f.jump(begin)
        f.place(begin)
        self._begin()
        r.set(FATE, const("i32", BEGUN))
        f.jump(done)
        f.place(renew)
        known, opening = f.label("renewed"), f.label("renewed_opening")
        self._look_up(ends.at("key"), known, done, opening)
        f.place(known)
        entry = f.load("ptr", self.entry)
        f.store(self._epoch(), f.gep(entry, FLOW.offset("epoch")))
        self._let_in(f.gep(entry, FLOW.offset("slot")))
        following = f.op("and", r.get(NEXT), 0x7F)
        self.touch(ends.at("key"), entry, self._state(entry), following, ends.sends)
        f.jump(done)

    def _begin(self) -> None:
        """Put a new flow into OPENINGS."""
        f, r, ends = self.f, self.r, self.ends

        def put(member: str, value: Value, offset: int = 0) -> None:
            f.store(value, ends.at("flow", FLOW.offset(member) + offset))

        for at in range(0, FLOW.size, 8):
            f.store(const("i64", 0), ends.at("flow", at))
        put("epoch", self._epoch())
        now = f.load("i64", ends.at("now"))
        put("seen_ns", now)
        put("since_ns", now)
        put("packets", const("i64", 1), 8 * int(ends.sends))
        put("bytes", f.zext(r.get(COUNTED), "i64"), 8 * int(ends.sends))
        put("marks", f.op("and", r.get(NEXT), MARKS))
        put("opener", const("i32", int(ends.sends)))
        self._let_in(ends.at("flow", FLOW.offset("slot")))
        done = f.label("kind_known")
        labels = {kind: f.label("kind") for kind in sorted({*KIND_OF.values(), OTHER})}
        f.switch(r.get("ip.proto"), labels[OTHER], [(n, labels[kind]) for n, kind in KIND_OF.items()])
        for kind, label in labels.items():
            f.place(label)
            put("kind", const("i32", kind))
            f.jump(done)
        f.place(done)
        table, any_ = Value("ptr", f"@{OPENINGS}"), const("i64", BPF_ANY)
        f.call_helper(BPF_MAP_UPDATE_ELEM, "i64", table, ends.at("key"), ends.at("flow"), any_)
