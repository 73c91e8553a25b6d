"""Emits the question whether a limit admits a packet (`stdlib_bpf.state.limits`): key, bucket, clock, and a
compare-and-exchange that is tried TRIES times.
"""

from __future__ import annotations

from ..fields import ETH_P_IP, WITH_PORTS
from ..layout import Struct
from ..state.clock import CLOCK
from ..state.limits import KEY_OF, TRIES, Limit
from .llvm import NULL, Function, Label, Value, const
from .registers import LENGTH, Registers

BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM, BPF_KTIME_GET_NS = 1, 2, 5
BPF_NOEXIST = 1
MAX_KEY = max(struct.size for struct in KEY_OF.values())


def fields_read(limit: Limit) -> frozenset[str]:
    """Fields that the key is made of, and the frame's length where bytes are counted."""
    sides = {"source": ("src",), "destination": ("dst",), "flow": ("src", "dst")}.get(limit.per or "", ())
    ports = {"th.sport", "th.dport"} if limit.per == "flow" else set()
    length = {LENGTH} if limit.unit == "bytes" else set()
    return frozenset({f"ip{family}.{side}" for family in (4, 6) for side in sides} | ports | length)


def admit(
    f: Function,
    context: Struct,
    ctx: Value,
    registers: Registers,
    limit: Limit,
    name: str,
    number: int,
    yes: Label,
    no: Label,
) -> None:
    """Jump to `yes` after taking tokens, else to `no`. `name`: the map of buckets; `number`: of the bucket
    where the limit has only one."""
    buckets, key = Value("ptr", f"@{name}"), _key(f, registers, limit, number)
    bucket = f.alloca("ptr", "bucket")
    have, make, again = f.label("bucket"), f.label("new_bucket"), f.label("made_bucket")
    _look_up(f, buckets, key, bucket, have, make)
    f.place(make)
    empty = f.room(8, at=MAX_KEY)
    f.store(const("i64", 0), empty)
    f.call_helper(BPF_MAP_UPDATE_ELEM, "i64", buckets, key, empty, const("i64", BPF_NOEXIST))
    f.jump(again)
    f.place(again)
    _look_up(f, buckets, key, bucket, have, no)
    f.place(have)
    now = clock(f)
    asked, cost = _costs(f, context, ctx, registers, limit)
    entry = f.load("ptr", bucket)
    for _ in range(TRIES):
        full_at = f.load("i64", entry, volatile=True)
        waiting, ready, conforms, raced = (
            f.label(n) for n in ("limit_waiting", "limit_ready", "limit_conforms", "limit_raced")
        )
        start = f.alloca("i64", "start")
        f.store(now, start)
        f.branch(f.compare("ugt", full_at, now), waiting, ready)
        f.place(waiting)
        f.store(full_at, start)
        f.jump(ready)
        f.place(ready)
        begin = f.load("i64", start)
        until = f.op("add", f.op("sub", begin, now), asked)
        f.branch(f.compare("ule", until, limit.cost_ns(limit.burst)), conforms, no)
        f.place(conforms)
        found = f.exchange(entry, full_at, f.op("add", begin, cost))
        f.branch(f.compare("eq", found, full_at), yes, raced, likely=True)
        f.place(raced)
    f.jump(no)


def clock(f: Function, helper: int = BPF_KTIME_GET_NS) -> Value:
    """The time in ns (i64): what the loader says, or CLOCK_MONOTONIC, by a helper that reads it."""
    now = f.alloca("i64", "now")
    told, real, known = f.load("i64", Value("ptr", f"@{CLOCK}")), f.label("real_time"), f.label("time")
    f.store(told, now)
    f.branch(f.compare("eq", told, 0), real, known, likely=True)
    f.place(real)
    f.store(f.call_helper(helper, "i64"), now)
    f.jump(known)
    f.place(known)
    return f.load("i64", now)


def _look_up(f: Function, buckets: Value, key: Value, bucket: Value, found: Label, missing: Label) -> None:
    entry = f.call_helper(BPF_MAP_LOOKUP_ELEM, "ptr", buckets, key)
    f.store(entry, bucket)
    f.branch(f.compare("ne", entry, NULL), found, missing, likely=True)


def _costs(
    f: Function, context: Struct, ctx: Value, registers: Registers, limit: Limit
) -> tuple[Value, Value]:
    """(ns that must be free, ns that the packet takes); they differ for packets larger than the burst."""
    if limit.unit == "bytes":
        units = f.zext(registers.get(LENGTH), "i64")
    elif "gso_segs" in context.by_name:
        # 0 where the packet is no super-packet
        segments = f.zext(f.load("i32", f.gep(ctx, context.offset("gso_segs")), volatile=True), "i64")
        units = f.at_least(segments, 1)
    else:
        one = const("i64", limit.cost_ns(1))
        return one, one
    mult, shift = limit.scale
    exact = f.op("add", f.op("mul", units, mult), (1 << shift) - 1)
    cost = f.op("lshr", exact, shift) if shift else exact
    return f.at_most(cost, limit.cost_ns(limit.burst)), cost


def _key(f: Function, registers: Registers, limit: Limit, number: int) -> Value:
    """The key on the stack."""
    if limit.per is None:
        key = f.room(4)
        f.store(const("i32", number), key)
        return key
    struct = KEY_OF[limit.per]
    key = f.room(struct.size)
    for at in range(0, struct.size, 8):
        f.store(const("i64", 0), f.gep(key, at))
    sides = {"source": {"address": "src"}, "destination": {"address": "dst"}}.get(
        limit.per, {"src": "src", "dst": "dst"}
    )
    ip4, ip6, done = f.label("key4"), f.label("key6"), f.label("key")
    f.branch(f.compare("eq", registers.get("eth.type"), ETH_P_IP), ip4, ip6)
    f.place(ip4)
    f.store(const("i32", 4), f.gep(key, struct.offset("family")))
    for member, side in sides.items():
        masked = f.op("and", registers.get(f"ip4.{side}"), _mask(limit.v4_bits, 32))
        f.store(f.byteswap(masked), f.gep(key, struct.offset(member)))
    f.jump(done)
    f.place(ip6)
    f.store(const("i32", 6), f.gep(key, struct.offset("family")))
    for member, side in sides.items():
        mask = _mask(limit.v6_bits, 128)
        for part, half in enumerate((mask >> 64, mask & (1 << 64) - 1)):
            word = f.load("i64", registers.address(f"ip6.{side}", part), volatile=True)
            masked = f.op("and", word, half - (1 << 64) if half >> 63 else half)
            f.store(f.byteswap(masked), f.gep(key, struct.offset(member) + 8 * part))
    f.jump(done)
    f.place(done)
    if limit.per == "flow":
        _flow(f, registers, struct, key)
    return key


def _flow(f: Function, registers: Registers, struct: Struct, key: Value) -> None:
    """Protocol, and ports where the packet has some."""
    f.store(registers.get("ip.proto"), f.gep(key, struct.offset("protocol")))
    ports, done = f.label("key_ports"), f.label("key_done")
    f.switch(registers.get("l4.proto"), done, [(number, ports) for number, _ in WITH_PORTS.ranges])
    f.place(ports)
    for member in ("sport", "dport"):
        f.store(registers.get(f"th.{member}"), f.gep(key, struct.offset(member)))
    f.jump(done)
    f.place(done)


def _mask(bits: int, width: int) -> int:
    return ((1 << bits) - 1) << (width - bits)
