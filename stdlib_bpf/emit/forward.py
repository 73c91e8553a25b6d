"""Emits `forward fast`: packets of known flows get from one interface to another without the host's stack.

Three places. What a workload sends, of a flow that both ends have confirmed: to another workload of this host
it goes straight into that one's namespace, when its own flow of the same ends is known, judged under the
present epoch and takes the packet; to the world out of the uplink that the flow has been seen to leave
through. What leaves through an uplink behind the stack with the ends that the workload knows: the flow is
marked with that uplink. What arrives there, of a marked flow: straight into the workload's namespace. Both
looks at the far side show that the stack does not translate the addresses of the flow.

The route is asked of the kernel for every packet (`bpf_fib_lookup`): no route, a neighbour that is not known
yet, an interface that is down or another than expected, a packet that is too large, and the last hop of
TTL go to the stack, which answers as ever. So do packets with VLAN tags, IP options, extension headers and
fragments. Knows layouts of include/uapi/linux/bpf.h (`struct bpf_fib_lookup`); must never know rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..decode.frame import WHOLE
from ..fields import ETH_P_IP, PEER, SUBJECT, WITH_PORTS
from ..labels import WORKLOAD
from ..layout import Member, Struct
from ..state.endpoints import ADDRESSES, HEAD, KINDS
from ..state.flows import CONFIRMED, FLOW, KEY
from .effects import (
    BPF_F_RECOMPUTE_CSUM,
    BPF_REDIRECT,
    BPF_REDIRECT_PEER,
    BPF_SKB_LOAD_BYTES,
    BPF_SKB_STORE_BYTES,
)
from .endpoints import ROUTE, Ends
from .flows import STATE, Flow
from .llvm import Label, Value, const
from .registers import FORWARD, LENGTH, NETWORK, TRANSPORT

BPF_FIB_LOOKUP, BPF_CHECK_MTU, BPF_MTU_CHK_SEGS = 69, 163, 1
PACKET_HOST = 0  # include/uapi/linux/if_packet.h: for this machine
AF_INET, AF_INET6 = 2, 10
# struct bpf_fib_lookup; addresses and ports in network order; `macs`: of source, then destination.
FIB = Struct(
    "bpf_fib_lookup",
    64,
    (
        Member("family", 0, 1),
        Member("l4_protocol", 1, 1),
        Member("sport", 2, 2),
        Member("dport", 4, 2),
        Member("tot_len", 6, 2),
        Member("ifindex", 8, 4),
        Member("flowinfo", 12, 4),
        Member("src", 16, 4, 4),
        Member("dst", 32, 4, 4),
        Member("vlan", 48, 4),
        Member("macs", 52, 1, 12),
    ),
    source="include/uapi/linux/bpf.h",
)
ETHERNET = 14
PAIR, DEVICE = 1, 2  # values of FORWARD: into the other end of a pair; out of a device
REGISTERS = frozenset({FORWARD, LENGTH, NETWORK, TRANSPORT, "ip.ttl", "ip.fragment"})


@dataclass
class Forward:
    """The parts of one program, around the flow of its packets. `slow`: where a packet goes that the stack
    must have."""

    ends: Ends
    flow: Flow
    slow: Label

    def __post_init__(self) -> None:
        self.f, self.r = self.ends.f, self.ends.registers

    # ---- the three places ----

    def sent(self) -> None:
        """What a workload sends, of a flow that has been found and touched; goes on where the packet need not
        go through the stack."""
        f, r = self.f, self.r
        self._require(f.compare("eq", r.get(STATE), CONFIRMED))
        self._plain()
        local, away, ready = f.label("local"), f.label("away"), f.label("ready")
        target = f.alloca("i32", "target")
        there = self.ends.look_up(ADDRESSES, self.ends.address(PEER), away, "peer_address")
        index = f.load("i32", f.gep(there, HEAD.offset("ifindex")))
        f.branch(f.compare("ne", index, 0), local, away, likely=True)
        f.place(away)
        marked = f.load("i32", f.gep(f.load("ptr", self.flow.entry), FLOW.offset("uplink")))
        self._require(f.compare("ne", marked, 0))
        f.store(marked, target)
        self._route(target)
        self._rewrite()
        r.set(FORWARD, const("i32", DEVICE))
        f.jump(ready)
        f.place(local)
        f.store(index, target)
        self._mirrored(index)
        taken = self.flow.takes(self.ends.at("flow"), False, self.slow)
        self._route(target)
        self._rewrite()
        self._into(there, lambda: self.flow.touch(self.ends.at("flow"), *taken, sends=False), ready)
        f.place(ready)

    def arrived(self) -> None:
        """What is forwarded and arrives through an uplink, of a flow that leaves through it; goes on where
        the packet goes straight to the workload."""
        f = self.f
        self._plain()
        target, there = f.alloca("i32", "target"), self._workload(SUBJECT)
        f.store(f.load("i32", f.gep(there, HEAD.offset("ifindex"))), target)
        self._key(f.load("i32", target))
        taken = self.flow.takes(self.ends.at("key"), False, self.slow)
        marked = f.load("i32", f.gep(taken[0], FLOW.offset("uplink")))
        self._require(f.compare("eq", marked, self._here()))
        self._route(target)
        self._rewrite()
        ready = f.label("ready")
        self._into(there, lambda: self.flow.touch(self.ends.at("key"), *taken, sends=False), ready)
        f.place(ready)

    def left(self) -> None:
        """What is forwarded and leaves through an uplink: the flow of a workload that is known by these very
        ends is marked. Ends in `slow`."""
        f = self.f
        there = self._workload(SUBJECT)
        self._key(f.load("i32", f.gep(there, HEAD.offset("ifindex"))))
        entry, *_ = self.flow.takes(self.ends.at("key"), True, self.slow)
        at, here = f.gep(entry, FLOW.offset("uplink")), self._here()
        self._require(f.compare("ne", f.load("i32", at), here))
        f.store(here, at)
        f.jump(self.slow)

    # ---- parts ----

    def _require(self, condition: Value) -> None:
        good = self.f.label("fast")
        self.f.branch(condition, good, self.slow, likely=True)
        self.f.place(good)

    def _context(self, member: str) -> Value:
        return self.f.load("i32", self.f.gep(self.ends.ctx, self.ends.context.offset(member)), volatile=True)

    def _here(self) -> Value:
        return self._context("ifindex")

    def _plain(self) -> None:
        """Whether the packet is for this machine, untagged, whole, without options and extension headers, and
        may go on by a hop."""
        f, r = self.f, self.r
        self._require(f.compare("eq", self._context("pkt_type"), PACKET_HOST))
        self._require(f.compare("eq", self._context("vlan_present"), 0))
        self._require(f.compare("eq", r.get(NETWORK), ETHERNET))
        self._require(f.compare("eq", r.get("ip.fragment"), WHOLE))
        self._require(f.compare("ugt", r.get("ip.ttl"), 1))
        four, six, done = f.label("plain4"), f.label("plain6"), f.label("plain")
        f.branch(f.compare("eq", r.get("eth.type"), ETH_P_IP), four, six)
        for label, header in ((four, 20), (six, 40)):
            f.place(label)
            f.branch(f.compare("eq", r.get(TRANSPORT), ETHERNET + header), done, self.slow, likely=True)
        f.place(done)

    def _workload(self, end: str) -> Value:
        """The record of an end that is a workload of this host."""
        f = self.f
        record = self.ends.look_up(ADDRESSES, self.ends.address(end), self.slow, "forwarded_for")
        self._require(
            f.compare("eq", f.load("i32", f.gep(record, HEAD.offset("kind"))), KINDS.index(WORKLOAD))
        )
        self._require(f.compare("ne", f.load("i32", f.gep(record, HEAD.offset("ifindex"))), 0))
        return record

    def _into(self, record: Value, touch: Callable[[], None], ready: Label) -> None:
        """The packet goes into a workload's namespace, or, where its interface is no such pair, out of that,
        where its own program judges it; ends at `ready`. `touch`: what that program would leave behind."""
        f, r, pair, single = self.f, self.r, self.f.label("pair"), self.f.label("no_pair")
        f.branch(f.compare("ne", f.load("i32", f.gep(record, HEAD.offset("pair"))), 0), pair, single)
        for label, way in ((single, DEVICE), (pair, PAIR)):
            f.place(label)
            if way == PAIR:
                touch()
            r.set(FORWARD, const("i32", way))
            f.jump(ready)

    def _key(self, index: Value) -> None:
        """Complete the key of a forwarded packet's flow, as the workload at that interface has it."""
        f, r, ends = self.f, self.r, self.ends
        ports, protocol = f.label("forwarded_ports"), r.get("ip.proto")
        self._require(f.compare("eq", r.get("ip.fragment"), WHOLE))
        f.switch(protocol, self.slow, [(number, ports) for number, _ in WITH_PORTS.ranges])
        f.place(ports)
        f.store(protocol, ends.in_key("protocol"))
        f.store(index, ends.in_key("ifindex"))
        subject, peer = ("th.sport", "th.dport") if ends.sends else ("th.dport", "th.sport")
        f.store(f.trunc(r.get(subject), "i16"), ends.in_key("subject_port"))
        f.store(f.trunc(r.get(peer), "i16"), ends.in_key("peer_port"))
        self.flow.flags()

    def _mirrored(self, index: Value) -> None:
        """The key of the same flow as the receiver has it, where an image of a flow would lie."""
        f, ends = self.f, self.ends
        for member, other in ((SUBJECT, PEER), (PEER, SUBJECT)):
            for half in (0, 1):
                word = f.load("i64", ends.in_key(member, half))
                f.store(word, ends.at("flow", KEY.offset(other) + 8 * half))
            port = f.load("i16", ends.in_key(f"{member}_port"))
            f.store(port, ends.at("flow", KEY.offset(f"{other}_port")))
        for name in ("protocol", "family"):
            f.store(f.load("i32", ends.in_key(name)), ends.at("flow", KEY.offset(name)))
        f.store(index, ends.at("flow", KEY.offset("ifindex")))

    def _route(self, target: Value) -> None:
        """Ask the kernel for the way, which must be out of the interface at `target`."""
        f, r, ends = self.f, self.r, self.ends
        for at in range(0, FIB.size, 8):
            f.store(const("i64", 0), ends.at(ROUTE, at))

        def put(member: str, value: Value, offset: int = 0) -> None:
            f.store(value, ends.at(ROUTE, FIB.offset(member) + offset))

        put("ifindex", self._here())
        put("l4_protocol", f.trunc(r.get("ip.proto"), "i8"))
        source, destination = ("subject", "peer") if ends.sends else ("peer", "subject")
        for end, member in ((source, "sport"), (destination, "dport")):
            put(member, f.byteswap(f.load("i16", ends.in_key(f"{end}_port"))))
        four, six, asked = f.label("route4"), f.label("route6"), f.label("route_asked")
        f.branch(f.compare("eq", r.get("eth.type"), ETH_P_IP), four, six)
        f.place(four)
        put("family", const("i8", AF_INET))
        for end, member in ((source, "src"), (destination, "dst")):
            put(member, f.trunc(f.op("lshr", f.byteswap(f.load("i64", ends.in_key(end, 1))), 32), "i32"))
        f.jump(asked)
        f.place(six)
        put("family", const("i8", AF_INET6))
        for end, member in ((source, "src"), (destination, "dst")):
            for half in (0, 1):
                word = f.byteswap(f.load("i64", ends.in_key(end, half)))
                for part in (0, 1):  # the structure holds words of 32 bits
                    put(member, f.trunc(f.op("lshr", word, 32 * part), "i32"), 8 * half + 4 * part)
        f.jump(asked)
        f.place(asked)
        segments, single, check = f.label("segments"), f.label("single"), f.label("look_route_up")
        f.branch(f.compare("eq", self._context("gso_size"), 0), single, check)
        f.place(single)
        length = f.op("sub", r.get(LENGTH), ETHERNET)
        self._require(f.compare("ult", length, 1 << 16))
        put("tot_len", f.trunc(length, "i16"))
        f.jump(check)
        f.place(check)
        size, none = const("i32", FIB.size), const("i32", 0)
        answer = f.call_helper(BPF_FIB_LOOKUP, "i64", ends.ctx, ends.at(ROUTE), size, none)
        self._require(f.compare("eq", answer, 0))
        found = f.load("i32", ends.at(ROUTE, FIB.offset("ifindex")))
        self._require(f.compare("eq", found, f.load("i32", target)))
        routed = f.label("routed")
        f.branch(f.compare("eq", self._context("gso_size"), 0), routed, segments)
        f.place(segments)
        room = f.room(4)
        f.store(const("i32", 0), room)
        flags = const("i64", BPF_MTU_CHK_SEGS)
        answer = f.call_helper(BPF_CHECK_MTU, "i64", ends.ctx, found, room, const("i32", 0), flags)
        f.branch(f.compare("eq", answer, 0), routed, self.slow, likely=True)
        f.place(routed)

    def _rewrite(self) -> None:
        """A hop less, and the link-layer addresses of the way."""
        f, r = self.f, self.r
        four, six, hopped = f.label("hop4"), f.label("hop6"), f.label("hopped")
        f.branch(f.compare("eq", r.get("eth.type"), ETH_P_IP), four, six)
        f.place(four)
        word = f.room(4)  # TTL, protocol, checksum
        self._bytes(BPF_SKB_LOAD_BYTES, ETHERNET + 8, word, 4)
        hops = f.op("sub", f.load("i8", word), 1)
        total = f.op("add", f.zext(f.load("i16", f.gep(word, 2)), "i32"), 1)  # RFC 1624; 0x0100 turned
        folded = f.op("add", f.op("and", total, 0xFFFF), f.op("lshr", f.op("add", total, 1), 16))
        f.store(hops, word)
        f.store(f.trunc(folded, "i16"), f.gep(word, 2))
        self._bytes(BPF_SKB_STORE_BYTES, ETHERNET + 8, word, 4)
        f.jump(hopped)
        f.place(six)
        limit = f.room(4)
        f.store(f.trunc(f.op("sub", r.get("ip.ttl"), 1), "i8"), limit)
        self._bytes(BPF_SKB_STORE_BYTES, ETHERNET + 7, limit, 1)
        f.jump(hopped)
        f.place(hopped)
        # The kernel gives the source first, a frame has the destination first.
        macs, head = self.ends.at(ROUTE, FIB.offset("macs")), f.room(12)
        for to, at in ((0, 6), (6, 0)):
            for word_at, type_ in ((0, "i16"), (2, "i16"), (4, "i16")):
                f.store(f.load(type_, f.gep(macs, at + word_at)), f.gep(head, to + word_at))
        self._bytes(BPF_SKB_STORE_BYTES, 0, head, 12)

    def _bytes(self, helper: int, at: int, room: Value, size: int) -> None:
        f = self.f
        place, count = const("i32", at), const("i32", size)
        flags = (const("i64", BPF_F_RECOMPUTE_CSUM if at else 0),) * (helper == BPF_SKB_STORE_BYTES)
        failed = f.call_helper(helper, "i64", self.ends.ctx, place, room, count, *flags)
        self._require(f.compare("eq", failed, 0))

    def leave(self) -> None:
        """At the end of the program: return where the packet goes straight on."""
        f, r = self.f, self.r
        index = f.load("i32", self.ends.at(ROUTE, FIB.offset("ifindex")))
        pair, device, other = f.label("into_pair"), f.label("out_of_device"), f.label("to_stack")
        f.switch(r.get(FORWARD), other, [(PAIR, pair), (DEVICE, device)])
        for label, helper in ((pair, BPF_REDIRECT_PEER), (device, BPF_REDIRECT)):
            f.place(label)
            f.ret(f.trunc(f.call_helper(helper, "i64", index, const("i64", 0)), "i32"))
        f.place(other)
