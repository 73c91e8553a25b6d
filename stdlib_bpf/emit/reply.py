"""Emits the answer to a rejected packet: the generated form of `reply`.

The answer is put together in a scratch map, not on the stack, and then takes the packet's place: the packet
is cut or grown to size, the two MAC addresses are written at its begin and everything from its network header
on; VLAN tags stay where they are. The verdict is "redirect" only when all of that worked.

A packet of a local socket may say "checksum still to be computed at …" (CHECKSUM_PARTIAL); a device would
later compute it where the old transport header was. Such a packet cannot be cut in front of that place, which
tells it apart (net/core/filter.c, __bpf_skb_min_len). It is made long first, and more than what lies before
that place is then taken out behind the Ethernet header: the kernel gives the plan up when its place has gone
(skb_postpull_rcsum). It takes bytes out of IP packets only (bpf_skb_adjust_room asks skb->protocol, which is
0x8100 or 0x88a8 when a tag lies in the frame), so the outermost tag is popped before. That leaves none in the
frame, since the second of two then moves into metadata; the tag is pushed again when the answer is there.
"""

from __future__ import annotations

from ..answers import UNREACHABLE4, UNREACHABLE6, Answer
from ..fields import ETH_P_IP, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP
from ..layout import Struct
from ..reply import (
    ACK,
    FIN,
    ICMP6_INFORMATION,
    ICMP6_REDIRECT,
    ICMP_ERRORS,
    QUOTE,
    RST,
    SYN,
    TTL,
)
from .effects import BPF_REDIRECT, BPF_SKB_LOAD_BYTES, BPF_SKB_STORE_BYTES, FLAGS, fold
from .llvm import NULL, Function, Label, Value, const
from .registers import ANSWER, LEFT, NETWORK, TRANSPORT, Registers

BPF_MAP_LOOKUP_ELEM, BPF_CSUM_DIFF, BPF_SKB_CHANGE_TAIL, BPF_SKB_ADJUST_ROOM = 1, 28, 38, 50
BPF_SKB_VLAN_PUSH, BPF_SKB_VLAN_POP = 18, 19
BPF_ADJ_ROOM_MAC = 1

SCRATCH = "scratch"
SCRATCH_BYTES = 256
# Places in it: the Ethernet header, the new packet from its network header on, the old transport header.
PACKET, OLD = 16, 224
MACS, UNTAGGED = 12, 14  # bytes of the MAC addresses, and of an Ethernet header
TAKEN = 512  # bytes taken out of a packet whose checksum is still to be computed; headers end before
LEFT_OVER = 64  # bytes of a packet that the kernel wants to be left then

# In the register ANSWER: 0 for none, else codes of both families and these bits.
TO_ANSWER, TO_RESET, TO_EXPLAIN = 1 << 16, 1 << 17, 1 << 18


def encoded(answer: Answer) -> int:
    """What the register ANSWER holds for an answer."""
    bits = TO_ANSWER | (TO_RESET if answer.reset else 0)
    if answer.codes is not None:
        bits |= TO_EXPLAIN | answer.codes[0] | answer.codes[1] << 8
    return bits


def emit(f: Function, context: Struct, ctx: Value, registers: Registers, verdict: Value, way: str) -> None:
    """Answer the packet if the register ANSWER says so. `verdict`: where to leave what the program returns
    then; `way`: how the answer leaves the device that the packet is at."""
    done = f.label("answer_done")
    reply = _Reply(f, context, ctx, registers, verdict, way, done)
    reply.require(f.compare("ne", registers.get(ANSWER), 0), "answer", likely=False)
    reply.require(f.op("xor", registers.is_missing(TRANSPORT), 1), "whole")
    reply.begin()
    f.place(done)


class _Reply:
    """The parts of one answer; every one that cannot be made ends at `done`."""

    def __init__(
        self,
        f: Function,
        context: Struct,
        ctx: Value,
        registers: Registers,
        verdict: Value,
        way: str,
        done: Label,
    ) -> None:
        self.f, self.context, self.ctx, self.registers = f, context, ctx, registers
        self.verdict, self.way, self.done = verdict, way, done

    def require(self, condition: Value, hint: str, likely: bool = True) -> None:
        """Go on only when the condition holds."""
        good = self.f.label(f"reply_{hint}")
        self.f.branch(condition, good, self.done, likely)
        self.f.place(good)

    def at(self, offset: int) -> Value:
        """A place in the scratch map."""
        return self.f.gep(self.scratch, offset)

    def put(self, type_: str, value: int | Value, offset: int) -> None:
        """Write a number as it shall lie in memory on a little-endian machine."""
        f = self.f
        f.store(const(type_, value) if isinstance(value, int) else f.trunc(value, type_), self.at(offset))

    def copy(self, start: int, to: int, size: int) -> None:
        """Copy bytes inside the scratch map, by 2 or 4."""
        step = 4 if size % 4 == 0 else 2
        for i in range(0, size, step):
            self.f.store(self.f.load(f"i{step * 8}", self.at(start + i)), self.at(to + i))

    def fetch(self, offset: Value, to: int, size: int | Value) -> None:
        """Read bytes of the packet."""
        length = const("i32", size) if isinstance(size, int) else size
        self._require_done(BPF_SKB_LOAD_BYTES, "fetched", offset, self.at(to), length)

    # ---- the packet that was rejected ----

    def begin(self) -> None:
        """Everything but the last block."""
        f, r = self.f, self.registers
        key = f.room(4)
        f.store(const("i32", 0), key)
        self.scratch = f.call_helper(BPF_MAP_LOOKUP_ELEM, "ptr", Value("ptr", f"@{SCRATCH}"), key)
        self.require(f.compare("ne", self.scratch, NULL), "scratch")
        self.fetch(const("i32", 0), 0, MACS)
        self.require(f.compare("eq", f.op("and", f.load("i8", self.at(0)), 1), 0), "unicast")
        self.copy(0, OLD, 6)
        self.copy(6, 0, 6)
        self.copy(OLD, 6, 6)
        for at in range(PACKET, OLD, 8):
            self.put("i64", 0, at)
        ip4, ip6 = f.label("reply4"), f.label("reply6")
        f.branch(f.compare("eq", r.get("eth.type"), ETH_P_IP), ip4, ip6)
        for label, family in ((ip4, _Family4(self)), (ip6, _Family6(self))):
            f.place(label)
            family.emit()

    # ---- the answer takes its place ----

    def send(self, size: Value) -> None:
        """`size`: of the new packet from its network header on (i32)."""
        f, r = self.f, self.registers
        start, tag = f.alloca("i32", "answer_start", 4), f.alloca("i32", "answer_tag", 4)
        f.store(r.get(NETWORK), start)
        f.store(const("i32", 0), tag)
        names = ("plain", "partial", "tagged", "bare", "tag_back", "leave")
        plain, partial, tagged, bare, back, leave = (f.label(f"reply_{name}") for name in names)
        f.branch(f.compare("eq", self._resize(r.get(TRANSPORT)), 0), plain, partial, likely=True)
        f.place(partial)
        f.branch(f.compare("eq", r.get(NETWORK), UNTAGGED), bare, tagged, likely=True)
        f.place(tagged)
        self._take_tag(tag)
        f.store(const("i32", UNTAGGED), start)
        f.jump(bare)
        f.place(bare)
        long = const("i32", UNTAGGED + TAKEN + LEFT_OVER)
        self.require(f.compare("eq", self._resize(long), 0), "long")
        less = (const("i32", -TAKEN), const("i32", BPF_ADJ_ROOM_MAC), const("i64", 0))
        self._require_done(BPF_SKB_ADJUST_ROOM, "taken", *less)
        f.jump(plain)
        f.place(plain)
        network = f.load("i32", start)
        self.require(f.compare("eq", self._resize(f.op("add", network, size)), 0), "resized")
        self._store(const("i32", 0), 0, const("i32", MACS))
        self._store(network, PACKET, size)
        taken = f.load("i32", tag)
        f.branch(f.compare("eq", taken, 0), leave, back, likely=True)
        f.place(back)
        control = f.zext(f.byteswap(f.trunc(f.op("lshr", taken, 16), "i16")), "i32")
        self._require_done(BPF_SKB_VLAN_PUSH, "pushed", f.op("and", taken, 0xFFFF), control)
        f.jump(leave)
        f.place(leave)
        ifindex = self._member("ifindex")
        answer = f.call_helper(BPF_REDIRECT, "i64", ifindex, const("i64", FLAGS[self.way]))
        f.store(f.trunc(answer, "i32"), self.verdict)
        f.jump(self.done)

    def _take_tag(self, tag: Value) -> None:
        """Remove the outermost tag and keep it, as it lies in a frame. What remains must be an IP packet."""
        f = self.f
        metadata, frame, known = (f.label(f"reply_tag_{name}") for name in ("metadata", "frame", "known"))
        f.branch(f.compare("ne", self._member("vlan_present"), 0), metadata, frame)
        f.place(metadata)
        control = f.byteswap(f.trunc(self._member("vlan_tci"), "i16"))
        f.store(f.op("or", self._member("vlan_proto"), f.op("shl", f.zext(control, "i32"), 16)), tag)
        f.jump(known)
        f.place(frame)
        self.fetch(const("i32", MACS), OLD, 4)
        f.store(f.load("i32", self.at(OLD)), tag)
        f.jump(known)
        f.place(known)
        self._require_done(BPF_SKB_VLAN_POP, "popped")
        self.fetch(const("i32", MACS), OLD, 2)
        found = f.zext(f.byteswap(f.load("i16", self.at(OLD))), "i32")
        self.require(f.compare("eq", found, self.registers.get("eth.type")), "untagged")

    def _member(self, name: str) -> Value:
        """A member of the program's context (i32)."""
        return self.f.load("i32", self.f.gep(self.ctx, self.context.offset(name)), volatile=True)

    def _require_done(self, helper: int, hint: str, *arguments: Value) -> None:
        """Call a helper on the packet; go on only when it worked."""
        failed = self.f.call_helper(helper, "i64", self.ctx, *arguments)
        self.require(self.f.compare("eq", failed, 0), hint)

    def _resize(self, length: Value) -> Value:
        return self.f.call_helper(BPF_SKB_CHANGE_TAIL, "i64", self.ctx, length, const("i64", 0))

    def _store(self, offset: Value, start: int, size: Value) -> None:
        self._require_done(BPF_SKB_STORE_BYTES, "stored", offset, self.at(start), size, const("i64", 0))

    def checksum(self, start: int, size: int, seed: Value | int, to: int) -> None:
        """Write the Internet checksum of some scratch bytes; `seed`: what is added to them, network order."""
        f = self.f
        first = const("i32", seed) if isinstance(seed, int) else seed
        nothing = (NULL, const("i32", 0))
        total = f.call_helper(BPF_CSUM_DIFF, "i64", *nothing, self.at(start), const("i32", size), first)
        self.put("i16", f.op("xor", fold(f, f.trunc(total, "i32")), 0xFFFF), to)


class _Family:
    """What the two families have in common. `HEADER`: bytes of the new IP header; `SOURCE`, `ADDRESS`: place
    in a header and bytes of its addresses; `PROTOCOL`, `KIND`, `CODE`: of its ICMP, and bits of the code in
    ANSWER."""

    HEADER: int
    SOURCE: int
    ADDRESS: int
    PROTOCOL: int
    KIND: int
    CODE: int

    def __init__(self, reply: _Reply) -> None:
        self.r, self.f = reply, reply.f
        self.body = PACKET + self.HEADER
        self.quote = self.body + 8

    def length(self) -> Value:
        """Bytes of the rejected packet (i32), from the header at `quote`."""
        raise AssertionError

    def of_one_host(self, offset: int) -> None:
        """Go on only if the address there is one that a host can have."""
        raise AssertionError

    def icmp(self, kind: Value) -> None:
        """Go on only if an ICMP message of that type (i32) may be answered."""
        raise AssertionError

    def header(self, protocol: int, length: Value | int) -> None:
        """Write the new IP header, but for its addresses; `length`: of what follows it."""
        raise AssertionError

    def finish(self) -> None:
        """What is written when the addresses are there."""

    def emit(self) -> None:
        """The whole answer, up to its end."""
        f, r = self.f, self.r.registers
        network = r.get(NETWORK)
        self.r.fetch(network, self.quote, 20)
        quoted = self._quoted(self.length())
        self.r.fetch(network, self.quote, quoted)
        for side in (0, self.ADDRESS):
            self.of_one_host(self.quote + self.SOURCE + side)
        tcp, icmp, explain = (f.label(f"reply_{n}") for n in ("tcp", "icmp", "explain"))
        f.switch(r.get("l4.proto"), explain, [(IPPROTO_TCP, tcp), (self.PROTOCOL, icmp)])
        f.place(tcp)
        self.r.fetch(r.get(TRANSPORT), OLD, 20)
        flags = f.zext(f.load("i8", self.r.at(OLD + 13)), "i32")
        self.r.require(f.compare("eq", f.op("and", flags, RST), 0), "no_reset")
        reset = f.label("reply_reset")
        wanted = f.op("and", r.get(ANSWER), TO_RESET)
        f.branch(f.compare("ne", wanted, 0), reset, explain, likely=True)
        f.place(reset)
        self._reset(flags)
        f.place(icmp)
        self.r.fetch(r.get(TRANSPORT), OLD, 1)
        self.icmp(f.zext(f.load("i8", self.r.at(OLD)), "i32"))
        f.jump(explain)
        f.place(explain)
        self.r.require(f.compare("ne", f.op("and", r.get(ANSWER), TO_EXPLAIN), 0), "explained")
        self._explain(quoted)

    def _quoted(self, length: Value) -> Value:
        """How many bytes of the packet go into an ICMP error (i32), bounded where the verifier can see it."""
        f = self.f
        size, short, long, known = f.alloca("i32", "quoted", 4), *(f.label(f"quote_{n}") for n in "slk")
        f.branch(f.compare("ult", length, QUOTE), short, long)
        f.place(long)
        f.store(const("i32", QUOTE), size)
        f.jump(known)
        f.place(short)
        f.store(length, size)
        f.branch(f.compare("ne", length, 0), known, self.r.done, likely=True)
        f.place(known)
        return f.load("i32", size)

    def _addresses(self) -> None:
        start, to, size = self.quote + self.SOURCE, PACKET + self.SOURCE, self.ADDRESS
        self.r.copy(start + size, to, size)
        self.r.copy(start, to + size, size)

    def _reset(self, flags: Value) -> None:
        """RFC 9293 §3.10.7.1."""
        f, r, tcp = self.f, self.r, self.body
        self.header(IPPROTO_TCP, 20)
        self._addresses()
        self.finish()
        r.copy(OLD + 2, tcp, 2)
        r.copy(OLD, tcp + 2, 2)
        for at in (4, 8, 12, 16):
            r.put("i32", 0, tcp + at)
        acknowledges, first, numbered = (f.label(f"reset_{n}") for n in ("ack", "first", "numbered"))
        f.branch(f.compare("ne", f.op("and", flags, ACK), 0), acknowledges, first)
        f.place(acknowledges)
        r.copy(OLD + 8, tcp + 4, 4)
        r.put("i16", RST << 8 | 5 << 4, tcp + 12)
        f.jump(numbered)
        f.place(first)
        words = f.op("lshr", f.zext(f.load("i8", r.at(OLD + 12)), "i32"), 4)
        length = f.op("sub", r.registers.get(LEFT), f.op("shl", words, 2))
        for bit in (SYN, FIN):
            length = f.op("add", length, f.op("lshr", f.op("and", flags, bit), bit.bit_length() - 1))
        sequence = f.byteswap(f.load("i32", r.at(OLD + 4)))
        r.put("i32", f.byteswap(f.op("add", sequence, length)), tcp + 8)
        r.put("i16", (RST | ACK) << 8 | 5 << 4, tcp + 12)
        f.jump(numbered)
        f.place(numbered)
        start = PACKET + self.SOURCE
        r.checksum(start, tcp + 20 - start, (IPPROTO_TCP + 20) << 8, tcp + 16)
        r.send(const("i32", self.HEADER + 20))

    def _explain(self, quoted: Value) -> None:
        """Destination unreachable."""
        f, r = self.f, self.r
        length = f.op("add", quoted, 8)
        self.header(self.PROTOCOL, length)
        self._addresses()
        self.finish()
        code = f.op("and", f.op("lshr", r.registers.get(ANSWER), self.CODE), 0xFF)
        r.put("i16", f.op("or", f.op("shl", code, 8), self.KIND), self.body)
        self.seal(length)
        r.send(f.op("add", length, self.HEADER))

    def seal(self, length: Value) -> None:
        """The checksum of the ICMP message; what lies behind it in the scratch map is zero."""
        raise AssertionError


class _Family4(_Family):
    HEADER, SOURCE, ADDRESS, PROTOCOL, KIND, CODE = 20, 12, 4, IPPROTO_ICMP, UNREACHABLE4, 0

    def length(self) -> Value:
        f = self.f
        return f.zext(f.byteswap(f.load("i16", self.r.at(self.quote + 2))), "i32")

    def of_one_host(self, offset: int) -> None:
        f = self.f
        below = f.op("sub", f.zext(f.load("i8", self.r.at(offset)), "i32"), 1)
        self.r.require(f.compare("ult", below, 223), "host4")

    def icmp(self, kind: Value) -> None:
        good = self.f.label("reply_no_error")
        self.f.switch(kind, good, [(number, self.r.done) for number in sorted(ICMP_ERRORS)])
        self.f.place(good)

    def header(self, protocol: int, length: Value | int) -> None:
        f, r = self.f, self.r
        total = const("i32", length + 20) if isinstance(length, int) else f.op("add", length, 20)
        r.put("i16", 0x0045, PACKET)
        r.put("i16", f.byteswap(f.trunc(total, "i16")), PACKET + 2)
        r.put("i32", 0x00400000, PACKET + 4)  # no identification; don't fragment
        r.put("i32", protocol << 8 | TTL, PACKET + 8)  # checksum zero

    def finish(self) -> None:
        self.r.checksum(PACKET, 20, 0, PACKET + 10)

    def seal(self, length: Value) -> None:
        self.r.checksum(self.body, 8 + QUOTE, 0, self.body + 2)


class _Family6(_Family):
    HEADER, SOURCE, ADDRESS, PROTOCOL, KIND, CODE = 40, 8, 16, IPPROTO_ICMPV6, UNREACHABLE6, 8

    def length(self) -> Value:
        f = self.f
        payload = f.zext(f.byteswap(f.load("i16", self.r.at(self.quote + 4))), "i32")
        return f.op("add", payload, 40)

    def of_one_host(self, offset: int) -> None:
        f = self.f
        first, second = (f.load("i64", self.r.at(offset + at)) for at in (0, 8))
        self.r.require(f.compare("ne", f.op("or", first, second), 0), "specified")
        self.r.require(f.compare("ne", f.load("i8", self.r.at(offset)), -1), "host6")

    def icmp(self, kind: Value) -> None:
        self.r.require(self.f.compare("uge", kind, ICMP6_INFORMATION), "no_error6")
        self.r.require(self.f.compare("ne", kind, ICMP6_REDIRECT), "no_redirect")

    def header(self, protocol: int, length: Value | int) -> None:
        f, r = self.f, self.r
        size = const("i32", length) if isinstance(length, int) else length
        r.put("i32", 0x00000060, PACKET)
        r.put("i16", f.byteswap(f.trunc(size, "i16")), PACKET + 4)
        r.put("i16", TTL << 8 | protocol, PACKET + 6)

    def seal(self, length: Value) -> None:
        """With the pseudo header: addresses, which lie before it, length and protocol."""
        f = self.f
        seed = f.byteswap(f.trunc(f.op("add", length, IPPROTO_ICMPV6), "i16"))
        start = PACKET + self.SOURCE
        self.r.checksum(start, self.body + 8 + QUOTE - start, f.zext(seed, "i32"), self.body + 2)
