"""Emits what every program begins with: whose turn is it, this load's or the one's before?

Two loads and a comparison. `generation_own` lies in a frozen map, so the verifier takes it for the constant
it is (kernel/bpf/verifier.c, bpf_map_direct_read); `generation_now` is read once, volatile: one run of a
program has one answer. A tail call with a constant index becomes a jump to the predecessor, and falls through
when the slot is empty (arch/x86/net/bpf_jit_comp.c, emit_bpf_tail_call_direct): then both ways meet at the
decoder, and nothing tells them apart.
"""

from __future__ import annotations

from ..state.generation import NOW, OWN, SLOT
from .llvm import Function, Value, const

BPF_TAIL_CALL = 12


def emit(f: Function, ctx: Value, previous: str) -> None:
    """Hand the packet to the predecessor unless this program's load is in force. `previous`: the array that
    holds it. Ends in an empty block."""
    now = f.load("i32", Value("ptr", f"@{NOW}"), volatile=True)
    own = f.load("i32", Value("ptr", f"@{OWN}"))
    hand_over, judge = f.label("hand_over"), f.label("judge")
    f.branch(f.compare("eq", now, own), judge, hand_over, likely=True)
    f.place(hand_over)
    f.call_helper(BPF_TAIL_CALL, "i64", ctx, Value("ptr", f"@{previous}"), const("i32", SLOT))
    f.jump(judge)
    f.place(judge)
