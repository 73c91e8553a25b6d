"""Emits what a decision leaves behind: counters and log events (`stdlib_bpf.state`)."""

from __future__ import annotations

from collections.abc import Callable

from ..layout import Struct
from ..state.counters import COUNTER
from ..state.events import EVENT, HEADER_BYTES
from .llvm import Function, Label, Value, const
from .registers import COUNTED, LENGTH, SLOT, Registers

BPF_MAP_LOOKUP_ELEM, BPF_KTIME_GET_NS, BPF_RINGBUF_OUTPUT = 1, 5, 130
BPF_SKB_LOAD_BYTES, BPF_XDP_LOAD_BYTES = 26, 189


def count(f: Function, registers: Registers, key: Value, seen: Value | None = None) -> None:
    """Add the packet to the counter whose slot lies at `key` (pointer to an i32). The array is per CPU, so
    plain additions do. `seen`: where to leave how many packets it had before (i64)."""
    if seen is not None:
        f.store(const("i64", 0), seen)
    entry = f.call_helper(BPF_MAP_LOOKUP_ELEM, "ptr", Value("ptr", "@counters"), key)
    found, done = f.label("counter"), f.label("counted")
    f.branch(f.compare("ne", entry, Value("ptr", "null")), found, done, likely=True)
    f.place(found)
    length = f.zext(registers.get(COUNTED), "i64")
    for name, by in (("packets", const("i64", 1)), ("bytes", length)):
        pointer = f.gep(entry, COUNTER.offset(name))
        before = f.load("i64", pointer)
        f.store(f.op("add", before, by), pointer)
        if seen is not None and name == "packets":
            f.store(before, seen)
    f.jump(done)
    f.place(done)


def begin_event(f: Function, policy: int) -> tuple[Value, Callable[[str, Value], None]]:
    """An event on the stack, with its time and whose it is; and how to set its members."""
    event = f.room(EVENT.size)
    for at in range(0, EVENT.size, 8):
        f.store(const("i64", 0), f.gep(event, at))

    def put(name: str, value: Value) -> None:
        f.store(value, f.gep(event, EVENT.offset(name)))

    put("ktime_ns", f.call_helper(BPF_KTIME_GET_NS, "i64"))
    put("policy", const("i32", policy))
    return event, put


def send_event(f: Function, registers: Registers, event: Value, lost: int, done: Label) -> None:
    """Send it, or count in slot `lost` that there was no room; then go to `done`."""
    ring, size = Value("ptr", "@events"), const("i64", EVENT.size)
    sent = f.call_helper(BPF_RINGBUF_OUTPUT, "i64", ring, event, size, const("i64", 0))
    full = f.label("ring_full")
    f.branch(f.compare("eq", sent, 0), done, full, likely=True)
    f.place(full)
    key = f.room(4)
    f.store(const("i32", lost), key)
    count(f, registers, key)
    f.jump(done)


def log(
    f: Function,
    context: Struct,
    variant: str,
    ctx: Value,
    policy: int,
    lost: int,
    registers: Registers,
    destination: Value | None,
) -> None:
    """Send an event of the deciding rule to the ring buffer `events`; one that finds no room is counted in
    slot `lost`. `destination`: at connect, pointer to 32 bytes that say whom the call was for."""
    event, put = begin_event(f, policy)
    put("slot", registers.get(SLOT))
    if destination is None:
        interface = "ingress_ifindex" if variant == "xdp" else "ifindex"
        put("ifindex", f.load("i32", f.gep(ctx, context.offset(interface)), volatile=True))
        length = registers.get(LENGTH)
        put("length", length)
        _capture(f, variant, ctx, event, length)
    else:
        for at in range(0, 32, 8):
            f.store(f.load("i64", f.gep(destination, at)), f.gep(event, EVENT.offset("header") + at))
    done = f.label("logged")
    send_event(f, registers, event, lost, done)
    f.place(done)


def _capture(f: Function, variant: str, ctx: Value, event: Value, length: Value) -> None:
    """Copy the beginning of the frame. The size is bounded on both sides where the verifier can see it."""
    helper = BPF_XDP_LOAD_BYTES if variant == "xdp" else BPF_SKB_LOAD_BYTES
    size = f.alloca("i32", "captured", 4)
    short, long, copy, copied, none = (
        f.label(n) for n in ("short", "long", "capture", "captured", "nothing")
    )
    f.branch(f.compare("ult", length, HEADER_BYTES), short, long)
    f.place(long)
    f.store(const("i32", HEADER_BYTES), size)
    f.jump(copy)
    f.place(short)
    f.store(length, size)
    f.branch(f.compare("ne", length, 0), copy, none, likely=True)
    f.place(copy)
    taken = f.load("i32", size)
    target = f.gep(event, EVENT.offset("header"))
    failed = f.call_helper(helper, "i64", ctx, const("i32", 0), target, taken)
    f.branch(f.compare("eq", failed, 0), copied, none, likely=True)
    f.place(copied)
    f.store(taken, f.gep(event, EVENT.offset("captured")))
    f.jump(none)
    f.place(none)
