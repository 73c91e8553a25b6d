"""Emits what is told of a flow that has ended, where the rule that let it in has `log` (`state.events`)."""

from __future__ import annotations

from dataclasses import dataclass

from ..state.events import EVENT, FLOW_END, NO_RULE
from ..state.flows import FLOW, KEY
from .endpoints import Ends
from .llvm import Value, const
from .registers import SAMPLE, SLOT
from .state import begin_event, send_event


@dataclass(frozen=True)
class Told:
    """`policy`: index of the chain in its bundle; `lost`: slot that counts events without room."""

    policy: int
    lost: int


def slot_of(ends: Ends) -> Value:
    """What a flow keeps of the rule that lets it in (i32): its counter slot where it logs every packet, else
    0, which is no rule's."""
    f, r, room = ends.f, ends.registers, ends.f.alloca("i32", "told_slot", 4)
    told, done = f.label("told_of"), f.label("told_or_not")
    f.store(const("i32", 0), room)
    f.branch(f.compare("eq", r.get(SAMPLE), 1), told, done)
    f.place(told)
    f.store(r.get(SLOT), room)
    f.jump(done)
    f.place(done)
    return f.load("i32", room)


def ended(ends: Ends, told: Told, key: Value, entry: Value, why: int) -> None:
    """Tell that a flow has ended, if its rule logs."""
    f, tell, done = ends.f, ends.f.label("tell_end"), ends.f.label("told_end")
    slot = f.load("i32", f.gep(entry, FLOW.offset("slot")))
    f.branch(f.compare("ne", slot, 0), tell, done, likely=False)
    f.place(tell)
    event, put = begin_event(f, told.policy)
    put("kind", const("i32", why))
    put("ifindex", f.load("i32", f.gep(key, KEY.offset("ifindex"))))
    put("slot", slot)
    same, other = f.label("same_load"), f.label("other_load")
    differs = f.op("xor", f.load("i64", f.gep(entry, FLOW.offset("epoch"))), f.load("i64", ends.at("epoch")))
    f.branch(f.compare("eq", f.op("lshr", differs, 32), 0), same, other, likely=True)
    f.place(other)
    put("slot", const("i32", NO_RULE))
    f.jump(same)
    f.place(same)
    end = f.gep(event, EVENT.offset("header"))
    for at in range(0, KEY.size, 8):
        f.store(f.load("i64", f.gep(key, at)), f.gep(end, FLOW_END.offset("key") + at))
    for name, size in (("packets", 16), ("bytes", 16), ("since_ns", 8)):
        for at in range(0, size, 8):
            word = f.load("i64", f.gep(entry, FLOW.offset(name) + at))
            f.store(word, f.gep(end, FLOW_END.offset(name) + at))
    opener = f.load("i32", f.gep(entry, FLOW.offset("opener")))
    f.store(opener, f.gep(end, FLOW_END.offset("opener")))
    send_event(f, ends.registers, event, told.lost, done)
    f.place(done)
