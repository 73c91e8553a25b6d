"""Emits the choice of a backend: the generated form of `balance.choice`, and affinity.

Knows the maps of `state.balance`; must never know what becomes of the call.
"""

from __future__ import annotations

from ..balance.choice import GOLDEN, LAST_SHIFT, MIXERS
from ..balance.services import MAGLEV, PICKS, RANDOM, ROUND_ROBIN
from ..state.balance import (
    AFFINITY,
    BACKEND,
    BACKENDS,
    BLOCK_WORDS,
    CLIENT,
    KEPT,
    SERVICE,
    TABLES,
    TURNS,
    WORD_BYTES,
)
from .limits import clock
from .llvm import NULL, Function, Label, Value, const
from .tables import BPF_MAP_LOOKUP_ELEM

BPF_MAP_UPDATE_ELEM, BPF_GET_PRANDOM_U32, BPF_GET_SOCKET_COOKIE = 2, 7, 46
BPF_GET_CURRENT_CGROUP_ID, BPF_GET_NETNS_COOKIE = 80, 122


def look_up(f: Function, map_: Value, key: Value, missing: Label, hint: str) -> Value:
    """An entry of a map; `missing` when there is none."""
    found = f.label(hint)
    entry = f.call_helper(BPF_MAP_LOOKUP_ELEM, "ptr", map_, key)
    f.branch(f.compare("ne", entry, NULL), found, missing)
    f.place(found)
    return entry


def signed(number: int) -> int:
    """A number of 64 bits as LLVM's text has it."""
    return number - (1 << 64) if number >> 63 else number


def mixed(f: Function, value: Value) -> Value:
    """64 bits well mixed: `choice.mixed`."""
    for shift, factor in MIXERS:
        value = f.op("mul", f.op("xor", value, f.op("lshr", value, shift)), signed(factor))
    return f.op("xor", value, f.op("lshr", value, LAST_SHIFT))


def hashed(f: Function, key: Value, pool: Value) -> Value:
    """A client's hash for a pool (i64): `choice.hashed`."""
    salt = f.op("mul", f.zext(f.op("add", pool, 1), "i64"), signed(GOLDEN))
    return mixed(f, f.op("add", key, salt))


def entry(f: Function, bits: Value, size: Value) -> Value:
    """The entry that 64 random bits stand for (i32): `choice.entry`. `size`: i32."""
    product = f.op("mul", f.op("lshr", bits, 32), f.zext(size, "i64"))
    return f.trunc(f.op("lshr", product, 32), "i32")


class Choice:
    """The choice for one call."""

    def __init__(self, f: Function, ctx: Value) -> None:
        self.f, self.ctx = f, ctx
        self.index = f.alloca("i32", "number", 4)
        self.place = f.alloca("i32", "place", 4)
        self.key = f.alloca("i64", "key")
        self.client = f.alloca(f"[{CLIENT.size} x i8]", "client")
        self.backend = f.alloca("ptr", "backend")

    def emit(self, service: Value, none: Label) -> tuple[Value, Value]:
        """The backend (pointer) and its place (i32); `none` when nobody takes the call."""
        f = self.f
        pool = f.load("i32", f.gep(service, SERVICE.offset("pool")))
        lasting = f.load("i64", f.gep(service, SERVICE.offset("affinity_ns")))
        kept, alone, pick, chosen = (f.label(h) for h in ("affinity", "alone", "pick", "chosen"))
        f.branch(f.compare("eq", lasting, 0), alone, kept)
        f.place(kept)
        self._known(pool, lasting, pick, chosen)
        f.place(alone)
        f.store(f.call_helper(BPF_GET_SOCKET_COOKIE, "i64", self.ctx), self.key)
        f.jump(pick)
        f.place(pick)
        self._pick(service, pool, none)
        keep = f.label("keep")
        f.branch(f.compare("eq", lasting, 0), chosen, keep)
        f.place(keep)
        self._keep()
        f.jump(chosen)
        f.place(chosen)
        return f.load("ptr", self.backend), f.load("i32", self.place)

    def _at(self, map_: Value, index: Value, missing: Label, hint: str) -> Value:
        self.f.store(index, self.index)
        return look_up(self.f, map_, self.index, missing, hint)

    def _known(self, pool: Value, lasting: Value, pick: Label, chosen: Label) -> None:
        """Who the client is, and the backend that it has: ends at `chosen`, or at `pick` when it has none or
        has been away for too long."""
        f = self.f
        own = f.call_helper(BPF_GET_NETNS_COOKIE, "i64", self.ctx)
        host = f.call_helper(BPF_GET_NETNS_COOKIE, "i64", NULL)
        cgroup, of_host, whose = f.alloca("i64", "cgroup"), f.label("of_host"), f.label("whose")
        f.store(const("i64", 0), cgroup)
        f.branch(f.compare("eq", own, host), of_host, whose)
        f.place(of_host)
        f.store(f.call_helper(BPF_GET_CURRENT_CGROUP_ID, "i64"), cgroup)
        f.jump(whose)
        f.place(whose)
        group = f.load("i64", cgroup)
        f.store(f.op("add", mixed(f, own), group), self.key)
        for name, value in (("netns", own), ("cgroup", group), ("pool", pool), ("pad", const("i32", 0))):
            f.store(value, f.gep(self.client, CLIENT.offset(name)))
        entry = look_up(f, Value("ptr", f"@{AFFINITY}"), self.client, pick, "kept")
        seen, fresh = f.gep(entry, KEPT.offset("seen_ns")), f.label("fresh")
        now = clock(f)
        f.branch(f.compare("ult", f.op("sub", now, f.load("i64", seen)), lasting), fresh, pick)
        f.place(fresh)
        place = f.load("i32", f.gep(entry, KEPT.offset("place")))
        backend = self._at(Value("ptr", f"@{BACKENDS}"), place, pick, "kept_backend")
        serials = [
            f.load("i64", f.gep(where, layout.offset("serial")))
            for where, layout in ((entry, KEPT), (backend, BACKEND))
        ]
        same, here, well = (f.label(hint) for hint in ("same_backend", "same_pool", "well"))
        f.branch(f.compare("eq", *serials), same, pick, likely=True)
        f.place(same)
        of = f.load("i32", f.gep(backend, BACKEND.offset("pool")))
        f.branch(f.compare("eq", of, pool), here, pick, likely=True)
        f.place(here)
        failing = f.load("i8", f.gep(backend, BACKEND.offset("failing")))
        f.branch(f.compare("eq", failing, 0), well, pick, likely=True)
        f.place(well)
        f.store(now, seen)
        f.store(backend, self.backend)
        f.store(place, self.place)
        f.jump(chosen)

    def _pick(self, service: Value, pool: Value, none: Label) -> None:
        """Find the backend in the pool's table."""
        f = self.f
        table = self._at(Value("ptr", f"@{TABLES}"), pool, none, "table")
        size = f.load("i32", self._at(table, const("i32", 0), none, "head"))
        some, number, found = f.label("some"), f.alloca("i32", "entry", 4), f.label("numbered")
        f.branch(f.compare("eq", size, 0), none, some)
        f.place(some)
        ways = {name: f.label(name.replace("-", "_")) for name in (MAGLEV, RANDOM, ROUND_ROBIN)}
        spread = f.zext(f.load("i8", f.gep(service, SERVICE.offset("spread"))), "i32")
        f.switch(spread, none, [(PICKS.index(name), label) for name, label in ways.items()])
        f.place(ways[MAGLEV])
        f.store(entry(f, hashed(f, f.load("i64", self.key), pool), size), number)
        f.jump(found)
        f.place(ways[RANDOM])
        bits = f.zext(f.trunc(f.call_helper(BPF_GET_PRANDOM_U32, "i64"), "i32"), "i64")
        f.store(entry(f, f.op("shl", bits, 32), size), number)
        f.jump(found)
        f.place(ways[ROUND_ROBIN])
        turn = f.fetch_add(self._at(Value("ptr", f"@{TURNS}"), pool, none, "turn"), const("i64", 1))
        f.store(f.trunc(f.op("urem", turn, f.zext(size, "i64")), "i32"), number)
        f.jump(found)
        f.place(found)
        at = f.load("i32", number)
        block = self._at(table, f.op("add", f.op("udiv", at, BLOCK_WORDS), 1), none, "block")
        offset = f.op("mul", f.zext(f.op("and", at, BLOCK_WORDS - 1), "i64"), WORD_BYTES)
        place = f.load("i32", f.gep(block, offset))
        backend = self._at(Value("ptr", f"@{BACKENDS}"), place, none, "picked_backend")
        there = f.label("there")
        f.branch(f.compare("ne", f.load("i64", f.gep(backend, BACKEND.offset("serial"))), 0), there, none)
        f.place(there)
        f.store(backend, self.backend)
        f.store(place, self.place)

    def _keep(self) -> None:
        """Write down which backend the client has."""
        f, kept = self.f, self.f.alloca(f"[{KEPT.size} x i8]", "kept")
        backend = f.load("ptr", self.backend)
        for name, value in (
            ("serial", f.load("i64", f.gep(backend, BACKEND.offset("serial")))),
            ("seen_ns", clock(f)),
            ("place", f.load("i32", self.place)),
            ("pad", const("i32", 0)),
        ):
            f.store(value, f.gep(kept, KEPT.offset(name)))
        f.call_helper(
            BPF_MAP_UPDATE_ELEM, "i64", Value("ptr", f"@{AFFINITY}"), self.client, kept, const("i64", 0)
        )
