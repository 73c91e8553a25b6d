"""Emits what rules do to a packet besides counting it: the generated form of `outcome`, but for rejections,
which `emit.reply` answers.
"""

from __future__ import annotations

from ..fields import ETH_P_IP
from ..layout import Struct
from ..state.devices import DEVICES, DEVMAP, IFINDEX_BYTES
from .llvm import NULL, Function, Value, const
from .registers import NETWORK, Registers

BPF_SKB_STORE_BYTES, BPF_CLONE_REDIRECT, BPF_REDIRECT, BPF_SKB_LOAD_BYTES = 9, 13, 23, 26
BPF_REDIRECT_MAP, BPF_REDIRECT_NEIGH, BPF_REDIRECT_PEER, BPF_SET_RETVAL = 51, 152, 155, 187
BPF_F_RECOMPUTE_CSUM = 1  # the sum that a device took of the whole packet stays right
FLAGS = {"egress": 0, "ingress": 1}  # BPF_F_INGRESS
XDP_DROP = 1  # of a frame whose device is missing
HEAD_BYTES = 12  # of an IPv4 header up to its checksum
MAX_NETWORK = 31  # a mask above every offset of a network header: two tags end at byte 22


def mark(f: Function, context: Struct, ctx: Value, value: int, mask: int) -> None:
    """Set bits of the packet's mark."""
    pointer = f.gep(ctx, context.offset("mark"))
    kept = f.op("and", f.load("i32", pointer, volatile=True), _signed(~mask & 0xFFFFFFFF))
    f.store(f.op("or", kept, _signed(value)), pointer, volatile=True)


def mirror(f: Function, ctx: Value, devices: list[int], how: str) -> None:
    """Send a copy to each device, by its place. What becomes of a copy is not this packet's business."""
    for place in devices:
        f.call_helper(BPF_CLONE_REDIRECT, "i64", ctx, ifindex(f, place), const("i64", FLAGS[how]))


def redirect(f: Function, variant: str, device: int, how: str) -> Value:
    """Say where the packet goes when the program ends; what to return for it (i32)."""
    if variant == "xdp":
        where = (Value("ptr", f"@{DEVMAP}"), const("i64", device), const("i64", XDP_DROP))
        answer = f.call_helper(BPF_REDIRECT_MAP, "i64", *where)
    elif how == "neighbour":
        none = (NULL, const("i32", 0), const("i64", 0))
        answer = f.call_helper(BPF_REDIRECT_NEIGH, "i64", ifindex(f, device), *none)
    elif how == "peer":
        answer = f.call_helper(BPF_REDIRECT_PEER, "i64", ifindex(f, device), const("i64", 0))
    else:
        answer = f.call_helper(BPF_REDIRECT, "i64", ifindex(f, device), const("i64", FLAGS[how]))
    return f.trunc(answer, "i32")


def arrival(f: Function, context: Struct, ctx: Value, registers: Registers, count: int) -> None:
    """Set `meta.iif`: which of the chain's `count` devices the packet arrived on."""
    here = f.load("i32", f.gep(ctx, context.offset("ingress_ifindex")), volatile=True)
    arrived, done = f.label("arrived"), f.label("arrival_done")
    f.branch(f.compare("eq", here, 0), done, arrived, likely=False)
    f.place(arrived)
    registers.set("meta.iif", const("i32", 0))
    for place in range(count):
        this, other = f.label("arrived_here"), f.label("arrived_elsewhere")
        f.branch(f.compare("eq", here, ifindex(f, place)), this, other, likely=False)
        f.place(this)
        registers.set("meta.iif", const("i32", place + 1))
        f.jump(done)
        f.place(other)
    f.jump(done)
    f.place(done)


def ifindex(f: Function, place: int) -> Value:
    """Which interface a device is."""
    return f.load("i32", f.gep(Value("ptr", f"@{DEVICES}"), IFINDEX_BYTES * place))


def dscp(f: Function, context: Struct, variant: str, ctx: Value, registers: Registers, value: Value) -> None:
    """Rewrite the DSCP of an IP packet (`value`, i32)."""
    done = f.label("dscp_done")
    network = registers.get(NETWORK)
    if variant == "xdp":
        data, end = (
            f.pointer(f.zext(f.load("i32", f.gep(ctx, context.offset(name)), volatile=True), "i64"))
            for name in ("data", "data_end")
        )
        head = f.gep(data, f.zext(f.op("and", network, MAX_NETWORK), "i64"))
        there = f.label("dscp_there")
        f.branch(f.compare("ugt", f.gep(head, HEAD_BYTES), end), done, there, likely=False)
        f.place(there)
        _rewrite(f, registers, head, value)
        f.jump(done)
    else:
        head, size = f.room(HEAD_BYTES), const("i32", HEAD_BYTES)
        failed = f.call_helper(BPF_SKB_LOAD_BYTES, "i64", ctx, network, head, size)
        there = f.label("dscp_there")
        f.branch(f.compare("eq", failed, 0), there, done, likely=True)
        f.place(there)
        _rewrite(f, registers, head, value)
        flags = const("i64", BPF_F_RECOMPUTE_CSUM)
        f.call_helper(BPF_SKB_STORE_BYTES, "i64", ctx, network, head, size, flags)
        f.jump(done)
    f.place(done)


def _rewrite(f: Function, registers: Registers, head: Value, value: Value) -> None:
    """Change a header where it lies. One's complement sums are the same in either byte order (RFC 1071
    §2)."""
    ip4, ip6, done = f.label("dscp4"), f.label("dscp6"), f.label("dscp_written")
    before = f.load("i16", head)
    f.branch(f.compare("eq", registers.get("eth.type"), ETH_P_IP), ip4, ip6)
    f.place(ip4)
    word = f.zext(before, "i32")
    after = f.op("or", f.op("and", word, 0x03FF), f.op("shl", value, 10))
    checksum = f.gep(head, 10)
    total = f.op(
        "add", f.op("xor", f.zext(f.load("i16", checksum), "i32"), 0xFFFF), f.op("xor", word, 0xFFFF)
    )
    f.store(f.trunc(after, "i16"), head)
    f.store(f.trunc(f.op("xor", fold(f, f.op("add", total, after)), 0xFFFF), "i16"), checksum)
    f.jump(done)
    f.place(ip6)
    word = f.zext(f.byteswap(before), "i32")
    after = f.op("or", f.op("and", word, 0xF03F), f.op("shl", value, 6))
    f.store(f.byteswap(f.trunc(after, "i16")), head)
    f.jump(done)
    f.place(done)


def fold(f: Function, total: Value) -> Value:
    """A one's complement sum (i32) to 16 bits."""
    for _ in range(2):
        total = f.op("add", f.op("and", total, 0xFFFF), f.op("lshr", total, 16))
    return total


def _signed(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value
