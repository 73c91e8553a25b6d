"""Emits the programs of a balancer, at every hook of a socket's life.

`forward` runs where a call names its destination (connect, sendmsg): is that a service, which backend,
remember it, write it into the call. `back` runs where the process asks whom it talks to (recvmsg,
getpeername). The maps are those of `state.balance`, the choice is `emit.balance_choice`. Knows no service:
those are in maps.

What is remembered is written before the call is changed, so no socket ever talks to a backend without knowing
which service that is.
"""

from __future__ import annotations

from ..answers import ERRNOS
from ..balance.services import EMPTY, REJECT
from ..fields import IPPROTO_TCP, IPPROTO_UDP
from ..layout import Struct
from ..state.balance import (
    BACKEND,
    BACKENDS,
    BALANCED,
    DATAGRAM_PAIRS,
    FRONT,
    MEMBERS,
    PAIR,
    PAIRS,
    SERVICE,
    SERVICES,
    SOCKET,
    SOCKETS,
    UNDECLARED_PORT,
    VIP,
    VIPS,
    WITHOUT_BACKEND,
    pair_at,
)
from ..state.cgroups import LEVELS
from ..state.counters import COUNTER
from . import sock_addr
from .balance_choice import Choice, look_up
from .effects import BPF_SET_RETVAL
from .llvm import NULL, Function, Label, Value, const
from .registers import Registers
from .tables import BPF_MAP_LOOKUP_ELEM

BPF_SK_STORAGE_GET, BPF_SK_STORAGE_GET_F_CREATE = 107, 1
ENOMEM = 12
ALLOW, REFUSE = 1, 0
MAPPED_WORD = 0xFFFF0000  # bytes 8 to 11 of ::ffff:0:0/96, as a little-endian word
WORDS = (0, 4, 8, 12)


class Balancer:
    """One program. `variant`: "ip4" or "ip6", the family of the socket; `cgroups`: how many of them the
    chain's services exempt; `labels`: whether some exempt endpoints by labels."""

    def __init__(
        self, f: Function, context: Struct, variant: str, cgroups: int, labels: bool = False
    ) -> None:
        self.f, self.context, self.variant, self.cgroups, self.labels = f, context, variant, cgroups, labels
        self.ctx = Value("ptr", "%ctx")
        self.front = f.alloca(f"[{FRONT.size} x i8]", "front")
        self.index = f.alloca("i32", "index", 4)
        self.allow = f.label("allow")

    # ---- forward: which backend does the call go to ----

    def forward(self, connects: bool) -> None:
        """Send a call for a service to a backend. `connects`: the socket has that one peer from now on; else
        this is one datagram."""
        f = self.f
        self._read()
        pair = f.alloca("ptr", "pair")
        f.store(NULL, pair)
        if not connects:
            self._again(pair)
        stranger, undeclared, none, failed = (
            f.label(hint) for hint in ("no_service", "undeclared_port", "no_backend", "no_memory")
        )
        vip = self._look_up(VIPS, self.front, stranger, "vip")
        if self.cgroups or self.labels:
            self._exempt(vip)
        service = self._look_up(SERVICES, self.front, undeclared, "service")
        slot = f.load("i32", f.gep(service, SERVICE.offset("slot")))
        backend, place = Choice(f, self.ctx).emit(service, none)
        port = self._port(service, backend)
        self._remember(pair, backend, place, port, connects, failed)
        self._write(f.gep(backend, BACKEND.offset("address")), port)
        self._count(slot, BALANCED)
        f.jump(self.allow)
        f.place(stranger)
        if connects:
            state = self._state(0, self.allow, "had_peer")
            f.store(const("i64", 0), f.gep(state, pair_at(0) + PAIR.offset("serial")))
        f.jump(self.allow)
        f.place(undeclared)
        self._count(f.load("i32", f.gep(vip, VIP.offset("slot"))), UNDECLARED_PORT)
        self._refuse(ERRNOS["refused"])
        f.place(none)
        self._count(slot, WITHOUT_BACKEND)
        refuse = f.label("refuse")
        empty = f.load("i8", f.gep(service, SERVICE.offset("empty")))
        f.branch(f.compare("eq", empty, EMPTY.index(REJECT)), refuse, self.allow)
        f.place(refuse)
        self._refuse(ERRNOS["refused"])
        f.place(failed)
        self._refuse(ENOMEM)
        self._end()

    def _again(self, found: Value) -> None:
        """A datagram for a service that the socket has sent to before goes to the same backend, as long as
        that is there. `found`: left pointing at the pair when it is not."""
        f = self.f
        new, known = f.label("new"), f.label("known")
        state = self._state(0, new, "state")
        which = f.alloca("i32", "which", 4)
        for place in range(1, PAIRS):
            this, other = f.label("pair"), f.label("other")
            pair = f.gep(state, pair_at(place))
            self._is_pair(pair, "vip", this, other)
            f.place(this)
            f.store(pair, found)
            f.store(const("i32", place), which)
            f.jump(known)
            f.place(other)
        f.jump(new)
        f.place(known)
        pair = f.load("ptr", found)
        backend = self._at(BACKENDS, f.load("i32", f.gep(pair, PAIR.offset("place"))), new, "backend")
        alive = f.label("alive")
        serials = [
            f.load("i64", f.gep(entry, layout.offset("serial")))
            for entry, layout in ((pair, PAIR), (backend, BACKEND))
        ]
        there = f.label("there")
        f.branch(f.compare("eq", *serials), there, new, likely=True)
        f.place(there)
        f.branch(f.compare("eq", f.load("i8", f.gep(backend, BACKEND.offset("failing"))), 0), alive, new)
        f.place(alive)
        f.store(f.load("i32", which), f.gep(state, SOCKET.offset("last")))
        self._write(
            f.gep(pair, PAIR.offset("backend")), f.load("i16", f.gep(pair, PAIR.offset("backend_port")))
        )
        f.jump(self.allow)
        f.place(new)

    def _exempt(self, vip: Value) -> None:
        """Leave the call alone when the service exempts its process."""
        f = self.f
        mask = f.load("i64", f.gep(vip, VIP.offset("exempt")))
        some, go_on = f.label("some_exempt"), f.label("not_exempt")
        f.branch(f.compare("eq", mask, 0), go_on, some, likely=True)
        f.place(some)
        if self.labels:
            self._member_of(mask)
        if self.cgroups:
            self._within(mask)
        f.jump(go_on)
        f.place(go_on)

    def _member_of(self, mask: Value) -> None:
        """Leave the call alone when a cgroup around its process is that of an endpoint with such labels."""
        f = self.f
        id_, level = f.alloca("i64", "cgroup_id"), f.alloca("i32", "cgroup_level", 4)
        f.store(const("i32", 0), level)
        here, there, listed, deeper, done = (
            f.label(f"member_{hint}") for hint in ("here", "there", "listed", "deeper", "done")
        )
        f.jump(here)
        f.place(here)
        found = f.call_helper(sock_addr.BPF_GET_CURRENT_ANCESTOR_CGROUP_ID, "i64", f.load("i32", level))
        f.branch(f.compare("eq", found, 0), done, there, likely=False)
        f.place(there)
        f.store(found, id_)
        entry = f.call_helper(BPF_MAP_LOOKUP_ELEM, "ptr", Value("ptr", f"@{MEMBERS}"), id_)
        f.branch(f.compare("ne", entry, NULL), listed, deeper)
        f.place(listed)
        f.branch(f.compare("ne", f.op("and", f.load("i64", entry), mask), 0), self.allow, deeper)
        f.place(deeper)
        following = f.op("add", f.load("i32", level), 1)
        f.store(following, level)
        f.branch(f.compare("ult", following, LEVELS), here, done)
        f.place(done)

    def _within(self, mask: Value) -> None:
        """Leave the call alone when its process is in a cgroup that is named."""
        f, not_named = self.f, self.f.label("not_named")
        registers = Registers(f, ["sock.cgroup"])
        for name in ("ip.proto", "l4.proto"):
            registers.set(name, f.zext(f.load("i8", f.gep(self.front, FRONT.offset("protocol"))), "i32"))
        sock_addr.caller(f, registers, self.cgroups)
        place = f.op("and", f.zext(registers.get("sock.cgroup"), "i64"), 63)
        bit = f.op("and", f.op("lshr", mask, place), 1)
        f.branch(f.compare("ne", bit, 0), self.allow, not_named)
        f.place(not_named)

    def _port(self, service: Value, backend: Value) -> Value:
        """The backend's own port, or that of the front (i16, network order)."""
        f, port = self.f, self.f.alloca("i16", "port", 2)
        own = f.load("i16", f.gep(backend, BACKEND.offset("port")))
        f.store(own, port)
        none, some = f.label("no_port"), f.label("some_port")
        f.branch(f.compare("eq", own, 0), none, some)
        f.place(none)
        f.store(f.load("i16", f.gep(service, SERVICE.offset("port"))), port)
        f.jump(some)
        f.place(some)
        return f.load("i16", port)

    def _remember(
        self, found: Value, backend: Value, place: Value, port: Value, connects: bool, failed: Label
    ) -> None:
        """Write down which service the socket thinks it talks to: where a pair was `found`, there, else over
        the one whose turn it is. A pair in the making has serial 0, so that nobody believes in it."""
        f = self.f
        state = self._state(BPF_SK_STORAGE_GET_F_CREATE, failed, "remember")
        number = f.alloca("i32", "number", 4)
        if connects:
            f.store(const("i32", 0), number)
            pair = f.gep(state, pair_at(0))
        else:
            new, ready = f.label("new_pair"), f.label("pair_ready")
            f.branch(f.compare("eq", f.load("ptr", found), NULL), new, ready)
            f.place(new)
            turn = f.fetch_add(f.gep(state, SOCKET.offset("turn")), const("i32", 1))
            place_ = f.op("add", f.op("and", turn, DATAGRAM_PAIRS - 1), 1)
            f.store(place_, number)
            offset = f.op("add", f.op("mul", f.zext(place_, "i64"), PAIR.size), pair_at(0))
            f.store(f.gep(state, offset), found)
            f.jump(ready)
            f.place(ready)
            pair = f.load("ptr", found)
        serial = f.gep(pair, PAIR.offset("serial"))
        f.store(const("i64", 0), serial, volatile=True)
        self._copy(self.front, f.gep(pair, PAIR.offset("vip")))
        self._copy(f.gep(backend, BACKEND.offset("address")), f.gep(pair, PAIR.offset("backend")))
        f.store(place, f.gep(pair, PAIR.offset("place")), volatile=True)
        vip_port = f.load("i16", f.gep(self.front, FRONT.offset("port")))
        f.store(vip_port, f.gep(pair, PAIR.offset("vip_port")), volatile=True)
        f.store(port, f.gep(pair, PAIR.offset("backend_port")), volatile=True)
        f.store(f.load("i64", f.gep(backend, BACKEND.offset("serial"))), serial, volatile=True)
        if connects:
            f.store(const("i32", 0), f.gep(state, SOCKET.offset("last")))

    # ---- back: whom does the socket think it talks to ----

    def back(self, connected: bool) -> None:
        """Show the service's address instead of a backend's. `connected`: only of whom the socket is
        connected to."""
        f = self.f
        self._read()
        state = self._state(0, self.allow, "state")
        found, shown = f.alloca("ptr", "found"), f.label("shown")
        if not connected:  # where two services share a backend, the one that was last in use
            last = f.load("i32", f.gep(state, SOCKET.offset("last")))
            known, others = f.label("last_known"), f.label("others")
            f.branch(f.compare("ult", last, PAIRS), known, others, likely=True)
            f.place(known)
            offset = f.op("add", f.op("mul", f.zext(last, "i64"), PAIR.size), pair_at(0))
            pair = f.gep(state, offset)
            f.store(pair, found)
            self._is_pair(pair, "backend", shown, others)
            f.place(others)
        for place in range(1 if connected else PAIRS):
            other, pair = f.label("other"), f.gep(state, pair_at(place))
            f.store(pair, found)
            self._is_pair(pair, "backend", shown, other)
            f.place(other)
        f.jump(self.allow)
        f.place(shown)
        pair = f.load("ptr", found)
        self._write(f.gep(pair, PAIR.offset("vip")), f.load("i16", f.gep(pair, PAIR.offset("vip_port"))))
        f.jump(self.allow)
        self._end()

    # ---- the call ----

    def _member(self, name: str, at: int = 0, type_: str = "i32") -> Value:
        return self.f.load(type_, self.f.gep(self.ctx, self.context.offset(name) + at), volatile=True)

    def _read(self) -> None:
        """Read the call into `front`; one of another protocol than TCP and UDP goes on as it is."""
        f = self.f
        protocol = self._member("protocol")
        self.socket = self._member("sk", type_="ptr")
        port = f.trunc(self._member("user_port"), "i16")
        if self.variant == "ip4":
            words = [const("i32", 0), const("i32", 0), const("i32", MAPPED_WORD), self._member("user_ip4")]
        else:
            words = [self._member("user_ip6", at) for at in WORDS]
        for at, word in zip(WORDS, words, strict=True):
            f.store(word, f.gep(self.front, at))
        f.store(port, f.gep(self.front, FRONT.offset("port")))
        f.store(f.trunc(f.op("and", protocol, 0xFF), "i16"), f.gep(self.front, FRONT.offset("protocol")))
        known = f.label("known_protocol")
        f.switch(protocol, self.allow, [(IPPROTO_TCP, known), (IPPROTO_UDP, known)])
        f.place(known)

    def _write(self, address: Value, port: Value) -> None:
        """Write a destination into the call. `address`: pointer to 16 bytes; `port`: i16, network order."""
        f = self.f
        words = [("user_ip4", 0, 12)] if self.variant == "ip4" else [("user_ip6", at, at) for at in WORDS]
        for name, to, at in words:
            word = f.load("i32", f.gep(address, at))
            f.store(word, f.gep(self.ctx, self.context.offset(name) + to), volatile=True)
        f.store(f.zext(port, "i32"), f.gep(self.ctx, self.context.offset("user_port")), volatile=True)

    def _refuse(self, errno: int) -> None:
        f = self.f
        f.call_helper(BPF_SET_RETVAL, "i64", const("i32", -errno))
        f.ret(const("i32", REFUSE))

    def _end(self) -> None:
        self.f.place(self.allow)
        self.f.ret(const("i32", ALLOW))

    # ---- maps ----

    def _look_up(self, name: str, key: Value, missing: Label, hint: str) -> Value:
        return look_up(self.f, Value("ptr", f"@{name}"), key, missing, hint)

    def _at(self, name: str, index: Value, missing: Label, hint: str) -> Value:
        self.f.store(index, self.index)
        return self._look_up(name, self.index, missing, hint)

    def _state(self, flags: int, missing: Label, hint: str) -> Value:
        """What is known of the socket."""
        f, found = self.f, self.f.label(hint)
        entry = f.call_helper(
            BPF_SK_STORAGE_GET, "ptr", Value("ptr", f"@{SOCKETS}"), self.socket, NULL, const("i64", flags)
        )
        f.branch(f.compare("ne", entry, NULL), found, missing)
        f.place(found)
        return entry

    def _count(self, slot: Value, which: int) -> None:
        f, done = self.f, self.f.label("counted")
        entry = self._at("counters", f.op("add", slot, which), done, "counter")
        calls = f.gep(entry, COUNTER.offset("packets"))
        f.store(f.op("add", f.load("i64", calls), 1), calls)
        f.jump(done)
        f.place(done)

    def _is_pair(self, pair: Value, end: str, yes: Label, no: Label) -> None:
        """Whether a pair is in use and one of its ends, "vip" or "backend", is what the call names."""
        f, used, there = self.f, self.f.label("used"), self.f.label("same_port")
        serial = f.load("i64", f.gep(pair, PAIR.offset("serial")), volatile=True)
        f.branch(f.compare("ne", serial, 0), used, no)
        f.place(used)
        port = f.load("i16", f.gep(pair, PAIR.offset(f"{end}_port")))
        named = f.load("i16", f.gep(self.front, FRONT.offset("port")))
        f.branch(f.compare("eq", port, named), there, no)
        f.place(there)
        address = f.gep(pair, PAIR.offset(end))
        halves = [
            f.op("xor", *(f.load("i64", f.gep(pointer, at)) for pointer in (address, self.front)))
            for at in (0, 8)
        ]
        f.branch(f.compare("eq", f.op("or", *halves), 0), yes, no)

    def _copy(self, source: Value, to: Value) -> None:
        """Copy 16 bytes."""
        f = self.f
        for at in (0, 8):
            f.store(f.load("i64", f.gep(source, at)), f.gep(to, at), volatile=True)
