"""BPF helpers and maps for native simulation, as LLVM text.

A map is a descriptor `%map = { kind, count, base, key_offset, key_length }`. Kind 0 is an array of 16-byte
elements under a u32 index (the counters, one CPU's worth); kind 1 is a membership set: `base` points at
`count` sorted inclusive ranges of i128, each with a value of 16 bytes behind it (`state.live.MEMBER`; static
sets have none to read), and a key is `key_length` bytes in network order at `key_offset`.
Hash and LPM maps are sets here, read back from the very images that the kernel gets. Kind 2 is a map that
programs write: look-ups and updates are calls of `native.py`. Kind 3 is the slot of a dynamic set: what is
found there is the map at `base`. Helpers that act on packets are calls of `acts.py`.
"""

from __future__ import annotations

import re
import struct

from lockgate.stdlib_bpf.state.cgroups import LEVELS

from .module import Module

DESCRIPTOR = struct.Struct("<IIQII8x")

_TEXT = """
%lg.map = type { i32, i32, i64, i32, i32 }
@lg.slots = global [64 x i32] zeroinitializer, align 8
@lg.slot_count = global i32 0, align 8
@lg.lookup = global i64 0, align 8
@lg.update = global i64 0, align 8
@lg.delete = global i64 0, align 8
@lg.act = global i64 0, align 8
@lg.events = global i64 0, align 8
@lg.data_at = global i32 0, align 8
@lg.length = global i64 0, align 8
@lg.socket = global [64 x i8] zeroinitializer, align 8
@lg.uid = global i32 0, align 8
@lg.cgroups = global [LEVELS x i64] zeroinitializer, align 8

define ptr @bpf_helper_1(ptr %map, ptr %key) {
entry:
  %kind = load i32, ptr %map
  %count.p = getelementptr %lg.map, ptr %map, i32 0, i32 1
  %count = load i32, ptr %count.p
  %base.p = getelementptr %lg.map, ptr %map, i32 0, i32 2
  %base.i = load i64, ptr %base.p
  %base = inttoptr i64 %base.i to ptr
  switch i32 %kind, label %written [ i32 0, label %array i32 1, label %set i32 3, label %slot ]
slot:
  ret ptr %base
written:
  %lookup.i = load i64, ptr @lg.lookup
  %lookup = inttoptr i64 %lookup.i to ptr
  %entry.p = call ptr %lookup(ptr %map, ptr %key)
  ret ptr %entry.p
array:
  %index = load i32, ptr %key
  %slot.n = load i32, ptr @lg.slot_count
  %slot.at = and i32 %slot.n, 63
  %slot.p = getelementptr i32, ptr @lg.slots, i32 %slot.at
  store i32 %index, ptr %slot.p
  %slot.next = add i32 %slot.n, 1
  store i32 %slot.next, ptr @lg.slot_count
  %inside = icmp ult i32 %index, %count
  br i1 %inside, label %element, label %none
element:
  %at = mul i32 %index, 16
  %element.p = getelementptr i8, ptr %base, i32 %at
  ret ptr %element.p
set:
  %offset.p = getelementptr %lg.map, ptr %map, i32 0, i32 3
  %offset = load i32, ptr %offset.p
  %length.p = getelementptr %lg.map, ptr %map, i32 0, i32 4
  %length = load i32, ptr %length.p
  %bytes = getelementptr i8, ptr %key, i32 %offset
  br label %read
read:
  %i = phi i32 [0, %set], [%i.next, %read.more]
  %value = phi i128 [0, %set], [%value.next, %read.more]
  %read.done = icmp uge i32 %i, %length
  br i1 %read.done, label %search, label %read.more
read.more:
  %byte.p = getelementptr i8, ptr %bytes, i32 %i
  %byte = load i8, ptr %byte.p
  %byte.wide = zext i8 %byte to i128
  %shifted = shl i128 %value, 8
  %value.next = or i128 %shifted, %byte.wide
  %i.next = add i32 %i, 1
  br label %read
search:
  %low = phi i32 [0, %read], [%low.next, %step]
  %high = phi i32 [%count, %read], [%high.next, %step]
  %empty = icmp uge i32 %low, %high
  br i1 %empty, label %none, label %probe
probe:
  %sum = add i32 %low, %high
  %middle = lshr i32 %sum, 1
  %range.at = mul i32 %middle, 48
  %range = getelementptr i8, ptr %base, i32 %range.at
  %first = load i128, ptr %range, align 8
  %last.p = getelementptr i8, ptr %range, i32 16
  %last = load i128, ptr %last.p, align 8
  %before = icmp ult i128 %value, %first
  %behind = icmp ugt i128 %value, %last
  %out = or i1 %before, %behind
  br i1 %out, label %step, label %found
step:
  %middle.next = add i32 %middle, 1
  %low.next = select i1 %before, i32 %low, i32 %middle.next
  %high.next = select i1 %before, i32 %middle, i32 %high
  br label %search
found:
  %value.p = getelementptr i8, ptr %range, i32 32
  ret ptr %value.p
none:
  ret ptr null
}

define i64 @bpf_helper_2(ptr %map, ptr %key, ptr %value, i64 %flags) {
  %update.i = load i64, ptr @lg.update
  %update = inttoptr i64 %update.i to ptr
  %r = call i64 %update(ptr %map, ptr %key, ptr %value, i64 %flags)
  ret i64 %r
}

define i64 @bpf_helper_3(ptr %map, ptr %key) {
  %delete.i = load i64, ptr @lg.delete
  %delete = inttoptr i64 %delete.i to ptr
  %r = call i64 %delete(ptr %map, ptr %key)
  ret i64 %r
}

; sk_storage_get(map, socket, value, flags): there is one socket
define ptr @bpf_helper_107(ptr %map, ptr %socket, ptr %value, i64 %flags) {
  ret ptr @lg.socket
}

; get_netns_cookie(ctx): there is one namespace
define i64 @bpf_helper_122(ptr %ctx) {
  ret i64 1
}

; sock_ops_cb_flags_set(ctx, flags): what happens later is not simulated
define i64 @bpf_helper_59(ptr %ctx, i32 %flags) {
  ret i64 0
}

define i64 @bpf_helper_5() {
  ret i64 0
}

define i64 @bpf_helper_160() {
  ret i64 0
}

; fib_lookup(ctx, params, size, flags): no packet is forwarded here (BPF_FIB_LKUP_RET_NOT_FWDED)
define i64 @bpf_helper_69(ptr %ctx, ptr %params, i32 %size, i32 %flags) {
  ret i64 4
}

; check_mtu(ctx, ifindex, mtu, difference, flags): of nothing that is forwarded
define i64 @bpf_helper_163(ptr %ctx, i32 %ifindex, ptr %mtu, i32 %difference, i64 %flags) {
  ret i64 -19
}

; xdp_get_buff_len(ctx)
define i64 @bpf_helper_188(ptr %ctx) {
  %n = load i64, ptr @lg.length
  ret i64 %n
}

; skb_pull_data(skb, length): the bytes behind data_end are there already, only the linear part grows
define i64 @bpf_helper_39(ptr %ctx, i32 %length) {
  %data_at = load i32, ptr @lg.data_at
  %data.p = getelementptr i8, ptr %ctx, i32 %data_at
  %data = load i32, ptr %data.p
  %end.p = getelementptr i8, ptr %data.p, i32 4
  %end = add i32 %data, %length
  store i32 %end, ptr %end.p
  ret i64 0
}

; get_current_uid_gid(): the group in the upper half, here that of root
define i64 @bpf_helper_15() {
  %uid = load i32, ptr @lg.uid
  %wide = zext i32 %uid to i64
  ret i64 %wide
}

; get_current_ancestor_cgroup_id(level): of the process that makes the call, 0 below its own
define i64 @bpf_helper_123(i32 %level) {
  %id.p = getelementptr [LEVELS x i64], ptr @lg.cgroups, i32 0, i32 %level
  %id = load i64, ptr %id.p
  ret i64 %id
}

; tail_call(ctx, array, index): the array is empty, and the caller goes on
define i64 @bpf_helper_12(ptr %ctx, ptr %array, i32 %index) {
  ret i64 -2
}

define i64 @bpf_helper_130(ptr %ring, ptr %data, i64 %size, i64 %flags) {
  %n = load i64, ptr @lg.events
  %n1 = add i64 %n, 1
  store i64 %n1, ptr @lg.events
  ret i64 0
}
"""


# Helpers that act on packets, and what they take: each is a call of `acts.py`.
_ACTS = {
    9: ("ptr", "i32", "ptr", "i32", "i64"),  # skb_store_bytes
    13: ("ptr", "i32", "i64"),  # clone_redirect
    18: ("ptr", "i32", "i32"),  # skb_vlan_push
    19: ("ptr",),  # skb_vlan_pop
    23: ("i32", "i64"),  # redirect
    26: ("ptr", "i32", "ptr", "i32"),  # skb_load_bytes
    28: ("ptr", "i32", "ptr", "i32", "i32"),  # csum_diff
    38: ("ptr", "i32", "i64"),  # skb_change_tail
    50: ("ptr", "i32", "i32", "i64"),  # skb_adjust_room
    51: ("ptr", "i64", "i64"),  # redirect_map
    152: ("i32", "ptr", "i32", "i64"),  # redirect_neigh
    155: ("i32", "i64"),  # redirect_peer
    187: ("i32",),  # set_retval
    189: ("ptr", "i32", "ptr", "i32"),  # xdp_load_bytes
}
_WIDEN = {"ptr": "ptrtoint ptr %a{0} to i64", "i32": "zext i32 %a{0} to i64", "i64": "add i64 %a{0}, 0"}


def _act(helper: int, types: tuple[str, ...]) -> str:
    parameters = ", ".join(f"{type_} %a{i}" for i, type_ in enumerate(types))
    widened = "".join(f"  %w{i} = {_WIDEN[type_].format(i)}\n" for i, type_ in enumerate(types))
    arguments = "".join(f", i64 {f'%w{i}' if i < len(types) else 0}" for i in range(5))
    return (
        f"define i64 @bpf_helper_{helper}({parameters}) {{\n{widened}"
        "  %act.i = load i64, ptr @lg.act\n  %act = inttoptr i64 %act.i to ptr\n"
        f"  %r = call i64 %act(i32 {helper}{arguments})\n  ret i64 %r\n}}\n"
    )


def render_native(module: Module) -> str:
    """The module text for this machine: the generated functions as they are, helpers and maps from here."""
    body = re.sub(r",? !dbg !\d+", "", module.body)
    body = "".join(line for line in body.splitlines(keepends=True) if not line.startswith("!llvm."))
    maps = "".join(f"@{m.name} = global [64 x i8] zeroinitializer, align 16\n" for m in module.maps)
    data = re.sub(r", !dbg !\d+", "", module.data_definitions).replace("constant", "global")
    text = _TEXT.replace("LEVELS", str(LEVELS))
    return maps + data + text + "".join(_act(helper, types) for helper, types in _ACTS.items()) + body
