"""Emits what becomes of fragments between the decoder and the rules (`stdlib_bpf.state.fragments`).

The decoder has left `ip.fragment`, the datagram's identification and the first fragment's transport fields in
registers; only fields that the plan reads are kept and lent.
"""

from __future__ import annotations

from ..decode.frame import FIRST, LATER
from ..fields import ETH_P_IP
from ..state.fragments import FIELDS, KEY, MAP, TIMEOUT_NS, VALUE
from .limits import clock
from .llvm import NULL, Function, Label, Value, const
from .registers import DATAGRAM, Registers

BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM = 1, 2
ADDRESSES = ("ip4.src", "ip4.dst", "ip6.src", "ip6.dst")


def registers_of(mode: str) -> frozenset[str]:
    """Registers that the mode needs beyond those that the plan reads."""
    if mode == "first-only":
        return frozenset()
    needed = {"ip.fragment"}
    return frozenset(needed | {DATAGRAM, *ADDRESSES} if mode == "track" else needed)


def emit(f: Function, registers: Registers, mode: str, rules: Label, refused: Label) -> None:
    """From here on fragments are seen to: jump to `rules`, or to `refused`. The mode is not first-only."""
    kind = registers.get("ip.fragment")
    if mode == "drop":
        f.switch(kind, rules, [(FIRST, refused), (LATER, refused)])
        return
    first, later = f.label("first_of_datagram"), f.label("later_of_datagram")
    f.switch(kind, rules, [(FIRST, first), (LATER, later)])
    table = Value("ptr", f"@{MAP}")
    f.place(first)
    _keep(f, registers, table, rules)
    f.place(later)
    _lend(f, registers, table, rules, refused)


def _keep(f: Function, registers: Registers, table: Value, rules: Label) -> None:
    """Leave the transport fields, unless a fragment has done so a short time ago."""
    key = _key(f, registers)
    now = clock(f)
    old, fresh, write = f.label("known_datagram"), f.label("known_still"), f.label("keep_datagram")
    entry = f.call_helper(BPF_MAP_LOOKUP_ELEM, "ptr", table, key)
    f.branch(f.compare("ne", entry, NULL), old, write)
    f.place(old)
    f.branch(_is_fresh(f, entry, now), fresh, write)
    f.place(fresh)
    f.jump(rules)
    f.place(write)
    value = f.room(VALUE.size, at=KEY.size)
    for at in range(0, VALUE.size, 8):
        f.store(const("i64", 0), f.gep(value, at))
    f.store(now, f.gep(value, VALUE.offset("seen_ns")))
    for name, size in FIELDS:
        if registers.wanted(name):
            f.store(f.trunc(registers.get(name), f"i{size * 8}"), f.gep(value, VALUE.offset(name)))
    f.call_helper(BPF_MAP_UPDATE_ELEM, "i64", table, key, value, const("i64", 0))
    f.jump(rules)


def _lend(f: Function, registers: Registers, table: Value, rules: Label, refused: Label) -> None:
    """Take the transport fields of the datagram's first fragment."""
    key = _key(f, registers)
    now = clock(f)
    known, lend = f.label("first_seen"), f.label("lend")
    entry = f.call_helper(BPF_MAP_LOOKUP_ELEM, "ptr", table, key)
    f.branch(f.compare("ne", entry, NULL), known, refused, likely=True)
    f.place(known)
    f.branch(_is_fresh(f, entry, now), lend, refused, likely=True)
    f.place(lend)
    for name, size in FIELDS:
        if registers.wanted(name):
            registers.set(name, f.load(f"i{size * 8}", f.gep(entry, VALUE.offset(name))))
    registers.set("l4.proto", registers.get("ip.proto"))
    f.jump(rules)


def _is_fresh(f: Function, entry: Value, now: Value) -> Value:
    seen = f.load("i64", f.gep(entry, VALUE.offset("seen_ns")))
    return f.compare("ult", f.op("sub", now, seen), TIMEOUT_NS)


def _key(f: Function, registers: Registers) -> Value:
    """Addresses as the decoder has them: the lower half of an IPv4 one holds it, the upper is zero."""
    key = f.room(KEY.size)
    for at in range(0, KEY.size, 8):
        f.store(const("i64", 0), f.gep(key, at))
    f.store(registers.get(DATAGRAM), f.gep(key, KEY.offset("id")))
    ip4, ip6, done = f.label("datagram4"), f.label("datagram6"), f.label("datagram")
    f.branch(f.compare("eq", registers.get("eth.type"), ETH_P_IP), ip4, ip6)
    f.place(ip4)
    f.store(const("i32", 4), f.gep(key, KEY.offset("family")))
    f.store(registers.get("ip.proto"), f.gep(key, KEY.offset("protocol")))
    for side in ("src", "dst"):
        address = f.zext(registers.get(f"ip4.{side}"), "i64")
        f.store(address, f.gep(key, KEY.offset(side) + 8))
    f.jump(done)
    f.place(ip6)
    f.store(const("i32", 6), f.gep(key, KEY.offset("family")))
    for side in ("src", "dst"):
        for part in (0, 1):
            half = f.load("i64", registers.address(f"ip6.{side}", part), volatile=True)
            f.store(half, f.gep(key, KEY.offset(side) + 8 * part))
    f.jump(done)
    f.place(done)
    return key
