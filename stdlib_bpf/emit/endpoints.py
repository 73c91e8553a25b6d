"""Emits who a packet is about: the generated form of the first steps of docs/internals/endpoints.md, and of
the bits that say which selections take the ends (`state.endpoints`).

What is known of a packet beyond registers lies in one element of a per-CPU array, whose layout is SCRATCH:
the key of its flow, the epoch and the time, and, while rules are judged, the ends' bits. Nothing else uses it
in between: programs run with migration and softirqs off.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..decode.frame import WHOLE
from ..fields import ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, IPPROTO_ICMPV6, PEER, SUBJECT, split_selected
from ..labels import HOST, WORKLOAD
from ..layout import Member, Struct
from ..state.endpoints import (
    ADDRESS_KEY,
    ADDRESSES,
    HEAD,
    INTERFACES,
    KINDS,
    SCRATCH,
    THIS_HOST,
    VERSION,
    WORD_BITS,
    words,
)
from ..state.flows import FLOW, KEY
from ..state.generation import OWN
from .fragments import ADDRESSES as ADDRESS_FIELDS
from .limits import clock
from .llvm import NULL, Function, Label, Value, const
from .registers import Registers

BPF_MAP_LOOKUP_ELEM, BPF_KTIME_GET_COARSE_NS = 1, 160
NEIGHBOURS, ON_LINK_TTL = (133, 134, 135, 136), 255
# What is no field: whether the packet is between this host and a workload of its own.
FREE = "flow.free"
ROUTE = "route"  # in the scratch: what the kernel is asked about the way (`emit.forward`)
REGISTERS = frozenset(
    {*ADDRESS_FIELDS, "ip.ttl", "ip.fragment", "icmp6.type", "flow.direction", "flow.opens", FREE}
)


def scratch(selections: int) -> Struct:
    """The layout of the scratch where there are so many selections."""
    count, at = words(selections), KEY.size
    members = [Member("key", 0, 1, KEY.size)]
    for name, size, number in (
        ("epoch", 8, 1),
        ("now", 8, 1),
        ("quote", 8, 6),
        ("flow", 8, FLOW.size // 8),
        (ROUTE, 8, 8),
    ):
        members.append(Member(name, at, size, number))
        at += size * number
    members += [Member(SUBJECT, at, 8, count), Member(PEER, at + 8 * count, 8, count)]
    return Struct("scratch", members[-1].end, tuple(members))


@dataclass(frozen=True)
class Exits:
    """Where a packet goes that no rule is asked about; `never`: where no run ends up."""

    unjudged: Label
    foreign: Label
    never: Label


@dataclass
class Ends:
    """What the parts share. `sends`: whether the subject sends the packets of this program; `kind`: what is
    judged here; `layout`: of the scratch, to which `room` holds the pointer."""

    f: Function
    registers: Registers
    context: Struct
    ctx: Value
    sends: bool
    kind: str
    selections: int
    exits: Exits = field(init=False)

    def __post_init__(self) -> None:
        self.layout = scratch(self.selections)
        self.room = self.f.alloca("ptr", "known")

    def at(self, member: str, offset: int = 0) -> Value:
        """Where a member of the scratch lies."""
        return self.f.gep(self.f.load("ptr", self.room), self.layout.offset(member) + offset)

    def in_key(self, member: str, half: int = 0) -> Value:
        """Where a member of the flow's key lies; `half` 1: the lower half of an address."""
        return self.at("key", KEY.offset(member) + 8 * half)

    def look_up(self, map_: str, key: Value, missing: Label, hint: str) -> Value:
        """An entry, in a new block; `missing`: where to go when there is none."""
        f, found = self.f, self.f.label(hint)
        entry = f.call_helper(BPF_MAP_LOOKUP_ELEM, "ptr", Value("ptr", f"@{map_}"), key)
        f.branch(f.compare("ne", entry, NULL), found, missing, likely=True)
        f.place(found)
        return entry

    # ---- the beginning ----

    def enter(self, otherwise: Value) -> None:
        """Find the scratch, first thing in a function, which returns `otherwise` where there is none: that
        does not happen, but the verifier cannot know."""
        f, key, never = self.f, self.f.room(4), self.f.label("no_scratch")
        f.store(const("i32", 0), key)
        f.store(self.look_up(SCRATCH, key, never, "scratch_there"), self.room)
        go_on = f.label("entered")
        f.jump(go_on)
        f.place(never)
        f.ret(otherwise)
        f.place(go_on)

    def begin(self, exits: Exits, addressed: Label, bare: Label) -> None:
        """The epoch, the time, and the key's addresses; jumps to `addressed`, to `bare` for what
        has no addresses, or away. The epoch is read before any record, so that what is judged by old records
        never counts as judged by new ones."""
        f, r, self.exits = self.f, self.registers, exits
        zero = f.room(4)
        f.store(const("i32", 0), zero)
        version = self.look_up(VERSION, zero, self.exits.never, "version_there")
        changes = f.op("and", f.load("i64", version, volatile=True), 0xFFFFFFFF)
        own = f.zext(f.load("i32", Value("ptr", f"@{OWN}")), "i64")
        f.store(f.op("or", f.op("shl", own, 32), changes), self.at("epoch"))
        f.store(clock(f, BPF_KTIME_GET_COARSE_NS), self.at("now"))
        ifindex = (
            f.load("i32", f.gep(self.ctx, self.context.offset("ifindex")), volatile=True)
            if self.kind == WORKLOAD
            else const("i32", THIS_HOST)
        )
        f.store(ifindex, self.in_key("ifindex"))
        r.set("flow.direction", const("i32", int(self.sends)))
        four, six = f.label("ends4"), f.label("ends6")
        kinds = [(ETH_P_IP, four), (ETH_P_IPV6, six), (ETH_P_ARP, self.exits.unjudged)]
        f.switch(r.get("eth.type"), bare, kinds)
        f.place(four)
        for side, member in self._sides:
            f.store(const("i64", 0), self.in_key(member))
            f.store(f.zext(r.get(f"ip4.{side}"), "i64"), self.in_key(member, 1))
        f.store(const("i32", 4), self.in_key("family"))
        f.jump(addressed)
        f.place(six)
        self._neighbours()
        for side, member in self._sides:
            for half in (0, 1):
                word = f.load("i64", r.address(f"ip6.{side}", half), volatile=True)
                f.store(word, self.in_key(member, half))
        f.store(const("i32", 6), self.in_key("family"))
        f.jump(addressed)

    @property
    def _sides(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """Sides of the packet and whose they are."""
        return (("src", SUBJECT), ("dst", PEER)) if self.sends else (("src", PEER), ("dst", SUBJECT))

    def _neighbours(self) -> None:
        """Neighbour discovery that no router has forwarded goes on unjudged."""
        f, r, other = self.f, self.registers, self.f.label("no_neighbour")
        for name, wanted in (
            ("l4.proto", IPPROTO_ICMPV6),
            ("ip.ttl", ON_LINK_TTL),
            ("ip.fragment", WHOLE),
        ):
            more = f.label("neighbour")
            f.branch(f.compare("eq", r.get(name), wanted), more, other, likely=False)
            f.place(more)
        f.switch(r.get("icmp6.type"), other, [(kind, self.exits.unjudged) for kind in NEIGHBOURS])
        f.place(other)

    # ---- addresses ----

    def address(self, end: str) -> Value:
        """The key of ADDRESSES for an end's address, on the stack."""
        f, key = self.f, self.f.room(24)
        four, six, done = f.label("address4"), f.label("address6"), f.label("address_key")
        high, low = f.load("i64", self.in_key(end)), f.load("i64", self.in_key(end, 1))
        family = f.load("i32", self.in_key("family"))
        for at in (8, 16):
            f.store(const("i64", 0), f.gep(key, at))
        f.store(family, f.gep(key, ADDRESS_KEY.offset("family")))
        f.branch(f.compare("eq", family, 4), four, six)
        f.place(four)
        f.store(f.op("lshr", f.byteswap(low), 32), key)
        f.jump(done)
        f.place(six)
        f.store(f.byteswap(high), key)
        f.store(f.byteswap(low), f.gep(key, 8))
        f.jump(done)
        f.place(done)
        return key

    def _stays_here(self, groups: bool, yes: Label) -> None:
        """Go to `yes` when the subject's address is none, or good on one link only; `groups`: or multicast,
        or broadcast. Else go on."""
        f, no = self.f, self.f.label("routable")
        high, low = f.load("i64", self.in_key(SUBJECT)), f.load("i64", self.in_key(SUBJECT, 1))
        four = [("eq", low, 0), ("eq", f.op("lshr", low, 16), 169 << 8 | 254)]
        six = [("eq", f.op("or", high, low), 0), ("eq", f.op("lshr", high, 54), 0xFE80 >> 6)]
        if groups:
            four.append(("uge", f.op("lshr", low, 28), 14))
            six.append(("eq", f.op("lshr", high, 56), 0xFF))
        first4, first6 = f.label("scope4"), f.label("scope6")
        f.branch(f.compare("eq", f.load("i32", self.in_key("family")), 4), first4, first6)
        for label, tests in ((first4, four), (first6, six)):
            f.place(label)
            for predicate, value, wanted in tests:
                other = f.label("scope")
                f.branch(f.compare(predicate, value, wanted), yes, other, likely=False)
                f.place(other)
            f.jump(no)
        f.place(no)

    def _is_endpoint(self, end: str, number: Value, no: Label) -> Value:
        """The record of an end's address, where it is one of the endpoint's; else go to `no`."""
        f, same = self.f, self.f.label("same_endpoint")
        record = self.look_up(ADDRESSES, self.address(end), no, "addressed")
        f.branch(f.compare("eq", self._member(record, "endpoint"), number), same, no, likely=True)
        f.place(same)
        return record

    def _member(self, record: Value, name: str) -> Value:
        return self.f.load("i32", self.f.gep(record, HEAD.offset(name)))

    # ---- who ----

    def the_hosts(self, passing: Label) -> None:
        """At a host's own interfaces what is not to or from the host itself goes to `passing`."""
        if self.kind != HOST:
            return
        f, own = self.f, self.f.label("of_this_host")
        record = self.look_up(INTERFACES, self.in_key("ifindex"), self.exits.unjudged, "this_host")
        number = self._member(record, "endpoint")
        self._stays_here(True, own)
        self._is_endpoint(SUBJECT, number, passing)
        f.jump(own)
        f.place(own)

    def who(self) -> None:
        """Who is judged, from which address, and with whom it speaks; leaves the ends' bits and FREE."""
        f = self.f
        self.registers.set(FREE, const("i32", 0))
        record = self.look_up(INTERFACES, self.in_key("ifindex"), self.exits.foreign, "judged")
        number = self._member(record, "endpoint")
        self._copy(record, SUBJECT)
        if self.kind == WORKLOAD and self.sends:
            own = f.label("own_address")
            self._stays_here(False, own)
            self._is_endpoint(SUBJECT, number, self.exits.foreign)
            f.jump(own)
            f.place(own)
        nobody, somebody, done = f.label("peer_unknown"), f.label("peer_known"), f.label("peer_done")
        peer = f.call_helper(BPF_MAP_LOOKUP_ELEM, "ptr", Value("ptr", f"@{ADDRESSES}"), self.address(PEER))
        f.branch(f.compare("ne", peer, NULL), somebody, nobody, likely=True)
        f.place(nobody)
        self._copy(None, PEER)
        f.jump(done)
        f.place(somebody)
        self._copy(peer, PEER)
        itself, another = f.label("itself"), f.label("another")
        f.branch(f.compare("eq", self._member(peer, "endpoint"), number), itself, another, likely=False)
        f.place(another)
        self._free(peer, done)
        f.place(itself)
        self._is_endpoint(SUBJECT, number, done)
        f.jump(self.exits.unjudged)
        f.place(done)

    def bare(self) -> None:
        """Who is judged, of a packet without addresses."""
        self.registers.set("flow.opens", const("i32", 1))
        self.registers.set(FREE, const("i32", 0))
        record = self.look_up(INTERFACES, self.in_key("ifindex"), self.exits.foreign, "judged_bare")
        self._copy(record, SUBJECT)
        self._copy(None, PEER)

    def _free(self, peer: Value, done: Label) -> None:
        """Set FREE for what lies between this host and a workload of its own; ends at `done`."""
        f, kind, free = self.f, self._member(peer, "kind"), self.f.label("host_and_workload")
        other = f.label("kind_fits")
        wanted = HOST if self.kind == WORKLOAD else WORKLOAD
        f.branch(f.compare("eq", kind, KINDS.index(wanted)), other, done)
        f.place(other)
        if self.kind == WORKLOAD:
            number, key = self._member(peer, "endpoint"), f.room(4)
            f.store(const("i32", THIS_HOST), key)
            host = self.look_up(INTERFACES, key, done, "a_host")
            f.branch(f.compare("eq", self._member(host, "endpoint"), number), free, done)
        else:
            f.branch(f.compare("ne", self._member(peer, "ifindex"), 0), free, done)
        f.place(free)
        self.registers.set(FREE, const("i32", 1))
        f.jump(done)

    # ---- bits ----

    def _copy(self, record: Value | None, end: str) -> None:
        """Keep an end's bits; None for nobody's."""
        f = self.f
        for word in range(words(self.selections)):
            bits = const("i64", 0) if record is None else f.load("i64", f.gep(record, HEAD.size + 8 * word))
            f.store(bits, self.at(end, 8 * word))

    def taken(self, field: str) -> Value:
        """The value (i32) of a field `subject#N` or `peer#N`."""
        f, named = self.f, split_selected(field)
        assert named is not None
        end, number = named
        word = f.load("i64", self.at(end, 8 * (number // WORD_BITS)))
        return f.trunc(f.op("and", f.op("lshr", word, number % WORD_BITS), 1), "i32")
