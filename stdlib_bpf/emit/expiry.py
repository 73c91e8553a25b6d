"""Emits the sweep of confirmed flows (`state.expiry`), behind a decision: where the packet has begun or
confirmed a flow, or would have and found no room.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..state.events import SILENT
from ..state.expiry import EXAMINED, HAND, HANDS, LAG, RING, TICKET_BYTES
from ..state.flows import CONFIRMED, FLOW, FLOWS, MARKS
from .flows import BEGUN, BPF_ANY, BPF_MAP_DELETE_ELEM, BPF_MAP_UPDATE_ELEM, ENLIST, FULL, Flow
from .llvm import Label, Value, const
from .registers import FATE


@dataclass
class Expiry:
    """The parts of one program, around its flows."""

    flow: Flow

    def __post_init__(self) -> None:
        self.ends = self.flow.ends
        self.f = self.ends.f
        self.hands = self.f.alloca("ptr", "hands")

    def settle(self) -> None:
        """Count, give a confirmed flow its ticket, and look at the oldest ones."""
        f, done, found = self.f, self.f.label("swept"), self.f.label("changed_flows")
        begun, enlist, full, sweep = (f.label(n) for n in ("begun", "enlist", "no_room", "sweep"))
        fates = [(BEGUN, begun), (ENLIST, enlist), (FULL, full)]
        f.switch(self.ends.registers.get(FATE), done, [(fate, found) for fate, _ in fates])
        f.place(found)
        self._find(done)
        f.switch(self.ends.registers.get(FATE), done, fates)
        f.place(begun)
        self._count("begun")
        f.jump(done)
        f.place(full)
        self._count("room")
        f.jump(sweep)
        f.place(enlist)
        key = self.ends.at("key")
        entry = self.ends.look_up(FLOWS, key, done, "enlisted")
        self._count("confirmed")
        self._ticket(entry, key)
        f.jump(sweep)
        f.place(sweep)
        for _ in range(EXAMINED):
            self._examine(done)
        f.jump(done)
        f.place(done)

    def _find(self, missing: Label) -> None:
        f, slot = self.f, self.f.room(4)
        f.store(const("i32", 0), slot)
        f.store(self.ends.look_up(HANDS, slot, missing, "hands_there"), self.hands)

    def _hand(self, member: str) -> Value:
        return self.f.gep(self.f.load("ptr", self.hands), HAND.offset(member))

    def _count(self, member: str) -> None:
        self.f.fetch_add(self._hand(member), const("i64", 1))

    def _ticket(self, entry: Value, key: Value) -> None:
        """A new ticket for the flow, with its key."""
        f, ticket = self.f, self.f.room(TICKET_BYTES, at=TICKET_BYTES)
        taken = f.fetch_add(self._hand("taken"), const("i64", 1))
        f.store(taken, f.gep(entry, FLOW.offset("ticket")))
        f.store(taken, ticket)
        ring = Value("ptr", f"@{RING}")
        f.call_helper(BPF_MAP_UPDATE_ELEM, "i64", ring, ticket, key, const("i64", BPF_ANY))

    def _examine(self, done: Label) -> None:
        """Take the oldest ticket and look after its flow; ends at the next step."""
        f, ticket, next_ = self.f, self.f.room(TICKET_BYTES), self.f.label("examined")
        oldest = f.load("i64", self._hand("examined"), volatile=True)
        waiting = f.op("sub", f.load("i64", self._hand("taken"), volatile=True), oldest)
        mine, there = f.label("old_ticket"), f.label("own_ticket")
        f.branch(f.compare("sgt", waiting, LAG), mine, done, likely=True)
        f.place(mine)
        held = f.exchange(self._hand("examined"), oldest, f.op("add", oldest, 1))
        f.branch(f.compare("eq", held, oldest), there, done, likely=True)
        f.place(there)
        f.store(oldest, ticket)
        key = self.ends.look_up(RING, ticket, next_, "ticket_key")
        drop, own, lives, dead = (f.label(n) for n in ("drop_ticket", "its_own", "still_lives", "is_over"))
        entry = self.ends.look_up(FLOWS, key, drop, "ticket_flow")
        f.branch(f.compare("eq", f.load("i64", f.gep(entry, FLOW.offset("ticket"))), oldest), own, drop)
        f.place(own)
        marks = f.op("and", f.load("i32", f.gep(entry, FLOW.offset("marks"))), MARKS)
        f.branch(self.flow.lives(entry, f.op("or", marks, CONFIRMED)), lives, dead)
        f.place(lives)
        self._ticket(entry, key)
        f.jump(drop)
        f.place(dead)
        self.flow.goes(key, entry, SILENT)
        f.call_helper(BPF_MAP_DELETE_ELEM, "i64", Value("ptr", f"@{FLOWS}"), key)
        self._count("removed")
        f.jump(drop)
        f.place(drop)
        f.store(oldest, ticket)
        f.call_helper(BPF_MAP_DELETE_ELEM, "i64", Value("ptr", f"@{RING}"), ticket)
        f.jump(next_)
        f.place(next_)
