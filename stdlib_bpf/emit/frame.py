"""Emits the frame decoder: the generated form of `decode.frame`, line by line the same decisions.

Jumps to `rules` with all registers set, or to `malformed`. At XDP headers must lie in the frame's first
buffer, else it is malformed, as the reference has it. At tc, where the headers may lie outside the
packet's linear part, a header found cut is pulled in once and decoding begins anew, so that the verdict does
not depend on how the driver laid the packet out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..decode.frame import (
    ARP_BYTES,
    ARP_ETHERNET_IPV4,
    AUTHENTICATION,
    EXTENSION_HEADERS,
    FRAGMENT,
    LATER,
    MAX_EXTENSION_HEADERS,
    ROUTING,
    TRANSPORT_LENGTH,
    V4_MAPPED,
    VLAN_TPIDS,
)
from ..fields import (
    ALL,
    ETH_P_ARP,
    ETH_P_IP,
    ETH_P_IPV6,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
)
from ..layout import Struct
from .llvm import Function, Label, Value, const
from .registers import COUNTED, DATAGRAM, ECHO, LEFT, LENGTH, NETWORK, TRANSPORT, Registers

BPF_SKB_PULL_DATA, BPF_XDP_GET_BUFF_LEN = 39, 188
ROUTING_FIELDS = ("ip6.routing-type", "ip6.segments-left")  # bytes 2 and 3 of the header
TAG_FIELDS = ("vlan.id", "vlan.priority")
ARP_FIELDS = tuple(field.name for field in ALL if field.name.startswith("arp."))


@dataclass
class _Frame:
    """What the parts of the decoder share. `end`: data_end; `known`: so many bytes (i64) the frame has at
    least; `whole_length`: asks how many there are, and counts those; None where `known` are all. `offset`:
    slot with the byte offset of the header at hand; `left`: slot with how many bytes of the IP packet are
    left from there on; `no_arp`: where to go when ARP cannot be read."""

    f: Function
    registers: Registers
    data: Value
    end: Value
    known: Value
    whole_length: Callable[[], Value] | None
    offset: Value
    left: Value
    cut: Label
    malformed: Label
    no_arp: Label

    def header(self, length: int, hint: str, otherwise: Label | None = None) -> Value:
        """Pointer to a header of that many bytes at `offset`, proved to lie before `end`."""
        f = self.f
        pointer = f.gep(self.data, f.load("i64", self.offset))
        self.require(f.compare("ule", f.gep(pointer, length), self.end), hint, otherwise or self.cut)
        return pointer

    def require(self, condition: Value, hint: str, otherwise: Label | None = None) -> None:
        """Go on only when the condition holds."""
        good = self.f.label(hint)
        self.f.branch(condition, good, otherwise or self.malformed, likely=True)
        self.f.place(good)

    def holds(self, behind: Value, hint: str) -> None:
        """Go on only when the frame has so many bytes (i64). Nearly every frame lies in one buffer, and to
        ask whether there are more takes longer than all else here."""
        f, fits = self.f, self.f.compare("ule", behind, self.known)
        if self.whole_length is None:
            self.require(fits, hint)
            return
        good, beyond = f.label(hint), f.label("beyond")
        f.branch(fits, good, beyond, likely=True)
        f.place(beyond)
        f.branch(f.compare("ule", behind, self.whole_length()), good, self.malformed)
        f.place(good)

    def load_be(self, type_: str, pointer: Value, offset: int) -> Value:
        """A network-order integer of a header, in host order. Headers may lie anywhere, but saying so would
        make LLVM read them by halves; x86-64 and arm64 read at any address, and their verifiers know it."""
        loaded = self.f.load(type_, self.f.gep(pointer, offset))
        return self.f.byteswap(loaded) if type_ != "i8" else loaded

    def keep(self, register: str, slot: Value) -> None:
        """Keep what a slot holds now for those that rewrite packets."""
        if self.registers.wanted(register):
            self.registers.set(register, self.f.trunc(self.f.load("i64", slot), "i32"))

    def load_mac(self, pointer: Value, offset: int) -> Value:
        """Six bytes as an i64; the header has two more behind them."""
        return self.f.op("lshr", self.load_be("i64", pointer, offset), 16)

    def advance(self, by: Value) -> None:
        """Step over a header of `by` bytes (i64) of the IP packet."""
        f = self.f
        f.store(f.op("add", f.load("i64", self.offset), by), self.offset)
        f.store(f.op("sub", f.load("i64", self.left), by), self.left)


def emit(
    f: Function,
    context: Struct,
    variant: str,
    ctx: Value,
    registers: Registers,
    rules: Label,
    malformed: Label,
) -> None:
    """Decode the frame of `ctx`. `variant`: "xdp" or "tc". Begins in the current block; ends it."""
    pulled = f.alloca("i32", "pulled", 4)
    offset, left = f.alloca("i64", "offset"), f.alloca("i64", "left")
    f.store(const("i32", 0), pulled)
    start, cut = f.label("decode"), f.label("cut")
    f.jump(start)

    f.place(start)

    def member(name: str) -> Value:
        return f.load("i32", f.gep(ctx, context.offset(name)), volatile=True)

    data = f.pointer(f.zext(member("data"), "i64"))
    end = f.pointer(f.zext(member("data_end"), "i64"))
    linear = f.op("sub", f.address(end), f.address(data))
    several = variant != "tc"  # buffers; at XDP a program sees the first
    known = linear if several else f.zext(member("len"), "i64")
    tag_in_metadata = None if several else member("vlan_present")
    registers.clear(f.trunc(known, "i32"))
    if registers.wanted(LENGTH):
        registers.set(LENGTH, f.call_helper(BPF_XDP_GET_BUFF_LEN, "i64", ctx) if several else known)

    def whole_length() -> Value:
        if registers.wanted(LENGTH):
            length = f.zext(registers.get(LENGTH), "i64")
        else:
            length = f.call_helper(BPF_XDP_GET_BUFF_LEN, "i64", ctx)
        registers.set(COUNTED, length)
        return length

    broken, no_ip = (f.label("broken"), f.label("no_ip")) if several else (malformed, rules)
    if registers.wanted("meta.mark"):
        registers.set("meta.mark", member("mark"))
    f.store(const("i64", 0), offset)
    no_arp = no_ip if several else cut
    ask = whole_length if several else None
    frame = _Frame(f, registers, data, end, known, ask, offset, left, cut, broken, no_arp)
    transport = f.label("transport")
    ip4, ip6 = f.label("ipv4"), f.label("ipv6")
    if tag_in_metadata is not None and any(map(registers.wanted, TAG_FIELDS)):
        tagged, link = f.label("tag_in_metadata"), f.label("link_layer")
        f.branch(f.compare("eq", tag_in_metadata, 0), link, tagged, likely=True)
        f.place(tagged)
        _tag(registers, member("vlan_tci"))
        f.jump(link)
        f.place(link)
    _link_layer(frame, tag_in_metadata, ip4, ip6, no_ip)
    f.place(ip4)
    _ipv4(frame, transport, rules)
    f.place(ip6)
    _ipv6(frame, transport, rules)
    f.place(transport)
    _transport(frame, rules)

    if several:
        f.place(cut)
        f.jump(broken)
        for here, onward in ((broken, malformed), (no_ip, rules)):
            f.place(here)
            whole_length()
            f.jump(onward)
        return
    f.place(cut)
    not_linear, pull, pull_done = f.label("not_linear"), f.label("pull"), f.label("pull_done")
    f.branch(f.compare("eq", f.load("i32", pulled), 0), not_linear, malformed, likely=True)
    f.place(not_linear)
    f.branch(f.compare("ugt", known, linear), pull, malformed, likely=True)
    f.place(pull)
    f.store(const("i32", 1), pulled)
    failed = f.call_helper(BPF_SKB_PULL_DATA, "i64", ctx, f.trunc(known, "i32"))
    f.branch(f.compare("eq", failed, 0), pull_done, malformed, likely=True)
    f.place(pull_done)
    f.jump(start)


def _tag(registers: Registers, tci: Value) -> None:
    """The outermost tag's fields; `tci` is an i32."""
    registers.set("vlan.id", registers.function.op("and", tci, 0xFFF))
    registers.set("vlan.priority", registers.function.op("lshr", tci, 13))


def _link_layer(frame: _Frame, tag_in_metadata: Value | None, ip4: Label, ip6: Label, rules: Label) -> None:
    f = frame.f
    ethernet = frame.header(14, "ethernet")
    ethertype = f.alloca("i32", "ethertype", 4)
    f.store(f.zext(frame.load_be("i16", ethernet, 12), "i32"), ethertype)
    for name, at in (("eth.dst", 0), ("eth.src", 6)):
        if frame.registers.wanted(name):
            frame.registers.set(name, frame.load_mac(ethernet, at))
    f.store(const("i64", 14), frame.offset)
    done = f.label("untagged")
    for first in (True, False):
        tag = f.label("vlan")
        value = f.load("i32", ethertype)
        f.switch(value, done, [(tpid, tag) for tpid in VLAN_TPIDS])
        f.place(tag)
        if not first and tag_in_metadata is not None:
            second = f.label("second_tag")
            f.branch(f.compare("eq", tag_in_metadata, 0), second, done, likely=True)
            f.place(second)
        header = frame.header(4, "tag")
        if first and any(map(frame.registers.wanted, TAG_FIELDS)):
            _outer_tag(frame, header, tag_in_metadata)
        f.store(f.zext(frame.load_be("i16", header, 2), "i32"), ethertype)
        f.store(f.op("add", f.load("i64", frame.offset), 4), frame.offset)
    f.jump(done)
    f.place(done)
    value = f.load("i32", ethertype)
    frame.registers.set("eth.type", value)
    frame.keep(NETWORK, frame.offset)
    kinds = [(ETH_P_IP, ip4), (ETH_P_IPV6, ip6)]
    arp = f.label("arp")
    if any(map(frame.registers.wanted, ARP_FIELDS)):
        kinds.append((ETH_P_ARP, arp))
    f.switch(value, rules, kinds)
    if len(kinds) > 2:
        f.place(arp)
        _arp(frame, rules)


def _outer_tag(frame: _Frame, header: Value, tag_in_metadata: Value | None) -> None:
    """The first tag in the frame is the outermost one, unless there is one in metadata."""
    f = frame.f
    outer, done = f.label("outer_tag"), f.label("tag_kept")
    if tag_in_metadata is None:
        f.jump(outer)
    else:
        f.branch(f.compare("eq", tag_in_metadata, 0), outer, done, likely=True)
    f.place(outer)
    _tag(frame.registers, f.zext(frame.load_be("i16", header, 0), "i32"))
    f.jump(done)
    f.place(done)


def _arp(frame: _Frame, rules: Label) -> None:
    """ARP that is cut short, or of another kind, has none of these fields."""
    f, registers = frame.f, frame.registers
    behind = f.op("add", f.load("i64", frame.offset), ARP_BYTES)
    frame.require(f.compare("ule", behind, frame.known), "whole_arp", rules)
    header = frame.header(ARP_BYTES, "arp_header", frame.no_arp)
    for type_, at in (("i32", 0), ("i16", 4)):
        wanted = int.from_bytes(ARP_ETHERNET_IPV4[at : at + int(type_[1:]) // 8])
        frame.require(f.compare("eq", frame.load_be(type_, header, at), wanted), "arp_kind", rules)
    registers.set("arp.op", frame.load_be("i16", header, 6))
    for name, at in (("arp.sha", 8), ("arp.tha", 18)):
        if registers.wanted(name):
            registers.set(name, frame.load_mac(header, at))
    for name, at in (("arp.spa", 14), ("arp.tpa", 24)):
        if registers.wanted(name):
            registers.set(name, frame.load_be("i32", header, at))
    f.jump(rules)


def _ipv4(frame: _Frame, transport: Label, rules: Label) -> None:
    f, registers = frame.f, frame.registers
    header = frame.header(20, "ipv4_header")
    first = f.load("i8", header)
    frame.require(f.compare("eq", f.op("lshr", first, 4), 4), "version4")
    ihl = f.op("shl", f.zext(f.op("and", first, 15), "i64"), 2)
    total = f.zext(frame.load_be("i16", header, 2), "i64")
    frame.require(f.compare("uge", ihl, 20), "ihl")
    frame.require(f.compare("uge", total, ihl), "total_length")
    behind = f.op("add", f.load("i64", frame.offset), total)
    frame.holds(behind, "whole_packet")
    protocol = f.zext(f.load("i8", f.gep(header, 9)), "i32")
    registers.set("ip.proto", protocol)
    registers.set("ip4.src", frame.load_be("i32", header, 12))
    registers.set("ip4.dst", frame.load_be("i32", header, 16))
    _traffic_class(registers, f.load("i8", f.gep(header, 1)))
    registers.set("ip.ttl", f.load("i8", f.gep(header, 8)))
    registers.set("ip.length", total)
    registers.set("ip4.options", f.op("sub", ihl, 20))
    f.store(total, frame.left)
    place = frame.load_be("i16", header, 6)
    registers.set(DATAGRAM, frame.load_be("i16", header, 4))
    registers.set("ip.fragment", f.op("and", f.op("lshr", place, 13), 1))
    first_fragment, later = f.label("first_fragment"), f.label("later_fragment4")
    f.branch(f.compare("eq", f.op("and", place, 0x1FFF), 0), first_fragment, later, likely=True)
    f.place(later)
    registers.set("ip.fragment", const("i32", LATER))
    f.jump(rules)
    f.place(first_fragment)
    frame.advance(ihl)
    registers.set("l4.proto", protocol)
    f.jump(transport)


def _traffic_class(registers: Registers, octet: Value) -> None:
    registers.set("ip.dscp", registers.function.op("lshr", octet, 2))
    registers.set("ip.ecn", registers.function.op("and", octet, 3))


def _ipv6(frame: _Frame, transport: Label, rules: Label) -> None:
    f, registers = frame.f, frame.registers
    header = frame.header(40, "ipv6_header")
    frame.require(f.compare("eq", f.op("lshr", f.load("i8", header), 4), 6), "version6")
    payload = f.zext(frame.load_be("i16", header, 4), "i64")
    behind = f.op("add", f.op("add", f.load("i64", frame.offset), payload), 40)
    frame.holds(behind, "whole_payload")
    for name, at in (("ip6.src", 8), ("ip6.dst", 24)):
        high, low = frame.load_be("i64", header, at), frame.load_be("i64", header, at + 8)
        mapped, good = f.label("mapped"), f.label("address")
        f.branch(f.compare("eq", high, 0), mapped, good, likely=False)
        f.place(mapped)
        f.branch(f.compare("eq", f.op("lshr", low, 32), V4_MAPPED), frame.malformed, good, likely=False)
        f.place(good)
        registers.set_wide(name, high, low)
    octet = f.trunc(f.op("lshr", frame.load_be("i16", header, 0), 4), "i8")
    _traffic_class(registers, octet)
    registers.set("ip.ttl", f.load("i8", f.gep(header, 7)))
    registers.set("ip.length", f.op("add", payload, 40))
    noted = [name for name in ("ip.fragment", *EXTENSION_HEADERS.values()) if registers.wanted(name)]
    # A zero that the verifier cannot see: it tells bytes known to be zero from others (STACK_ZERO), and would
    # explore every sequence of extension headers with each set of headers seen so far.
    zero = f.op("xor", registers.get("eth.type"), ETH_P_IPV6) if noted else const("i32", 0)
    for name in noted:
        registers.set(name, zero)
    protocol = f.alloca("i32", "next_header", 4)
    count = f.alloca("i32", "extensions", 4)
    f.store(f.zext(f.load("i8", f.gep(header, 6)), "i32"), protocol)
    f.store(const("i32", 0), count)
    f.store(f.op("add", payload, 40), frame.left)
    frame.advance(const("i64", 40))
    _extension_headers(frame, protocol, count, transport, rules)


def _extension_headers(frame: _Frame, protocol: Value, count: Value, transport: Label, rules: Label) -> None:
    """Walk to the transport header; lengths as in RFC 8200 (8-byte units) and RFC 4302 (4-byte units)."""
    f, registers = frame.f, frame.registers
    walk, done, extension = f.label("walk"), f.label("walked"), f.label("extension")
    plain, fragment, later, auth = (f.label(n) for n in ("options", "fragment", "later_fragment", "auth"))
    step = f.label("step")
    length = f.alloca("i64", "extension_length")
    f.jump(walk)
    f.place(walk)
    f.switch(f.load("i32", protocol), done, [(kind, extension) for kind in EXTENSION_HEADERS])

    f.place(extension)
    seen = f.load("i32", count)
    frame.require(f.compare("ult", seen, MAX_EXTENSION_HEADERS), "few_enough")
    f.store(f.op("add", seen, 1), count)
    frame.require(f.compare("uge", f.load("i64", frame.left), 8), "eight_bytes")
    header = frame.header(8, "extension_header")
    units = f.zext(f.load("i8", f.gep(header, 1)), "i64")
    kind = f.load("i32", protocol)
    f.store(f.zext(f.load("i8", header), "i32"), protocol)
    _note_header(frame, header, kind)
    f.switch(kind, plain, [(FRAGMENT, fragment), (AUTHENTICATION, auth)])

    f.place(plain)
    f.store(f.op("shl", f.op("add", units, 1), 3), length)
    f.jump(step)
    f.place(auth)
    f.store(f.op("shl", f.op("add", units, 2), 2), length)
    f.jump(step)
    f.place(fragment)
    f.store(const("i64", 8), length)
    place = frame.load_be("i16", header, 2)
    registers.set(DATAGRAM, frame.load_be("i32", header, 4))
    if registers.wanted("ip.fragment"):
        more = f.zext(f.op("and", place, 1), "i32")
        registers.set("ip.fragment", f.op("or", registers.get("ip.fragment"), more))
    f.branch(f.compare("eq", f.op("and", place, 0xFFF8), 0), step, later, likely=True)
    f.place(later)
    registers.set("ip.fragment", const("i32", LATER))
    registers.set("ip.proto", f.load("i32", protocol))
    f.jump(rules)

    f.place(step)
    by = f.load("i64", length)
    frame.require(f.compare("uge", f.load("i64", frame.left), by), "whole_extension")
    frame.advance(by)
    f.jump(walk)

    f.place(done)
    value = f.load("i32", protocol)
    registers.set("ip.proto", value)
    registers.set("l4.proto", value)
    f.jump(transport)


def _note_header(frame: _Frame, header: Value, kind: Value) -> None:
    """That a header of this kind (i32) was there, and what the first routing header says."""
    f, registers = frame.f, frame.registers
    noted = {number: [name] for number, name in EXTENSION_HEADERS.items()}
    noted[ROUTING] += ROUTING_FIELDS
    for number, names in noted.items():
        if not any(map(registers.wanted, names)):
            continue
        this, done = f.label("this_header"), f.label("noted")
        f.branch(f.compare("eq", kind, number), this, done)
        f.place(this)
        registers.set(names[0], const("i32", 1))
        for at, name in enumerate(names[1:], start=2):
            if registers.wanted(name):
                first, kept = f.label("first_routing"), f.label("routing_kept")
                f.branch(registers.is_missing(name), first, kept, likely=True)
                f.place(first)
                registers.set(name, f.load("i8", f.gep(header, at)))
                f.jump(kept)
                f.place(kept)
        f.jump(done)
        f.place(done)


def _transport(frame: _Frame, rules: Label) -> None:
    f, registers = frame.f, frame.registers
    frame.keep(TRANSPORT, frame.offset)
    frame.keep(LEFT, frame.left)
    protocol = registers.get("l4.proto")
    tcp, udp, sctp, icmp, icmp6 = (f.label(n) for n in ("tcp", "udp", "sctp", "icmp", "icmp6"))
    f.switch(
        protocol,
        rules,
        [
            (IPPROTO_TCP, tcp),
            (IPPROTO_UDP, udp),
            (IPPROTO_SCTP, sctp),
            (IPPROTO_ICMP, icmp),
            (IPPROTO_ICMPV6, icmp6),
        ],
    )

    def whole(number: int, hint: str) -> Value:
        length = TRANSPORT_LENGTH[number]
        frame.require(f.compare("uge", f.load("i64", frame.left), length), f"{hint}_left")
        return frame.header(length, f"{hint}_header")

    def ports(header: Value) -> None:
        for name, at in (("th.sport", 0), ("th.dport", 2)):
            if registers.wanted(name):
                registers.set(name, frame.load_be("i16", header, at))

    f.place(tcp)
    header = whole(IPPROTO_TCP, "tcp")
    ports(header)
    data_offset = f.op("shl", f.zext(f.op("lshr", f.load("i8", f.gep(header, 12)), 4), "i64"), 2)
    frame.require(f.compare("uge", data_offset, 20), "data_offset")
    frame.require(f.compare("uge", f.load("i64", frame.left), data_offset), "tcp_whole")
    registers.set("tcp.flags", f.load("i8", f.gep(header, 13)))
    registers.set("tcp.header", data_offset)
    registers.set("tcp.window", frame.load_be("i16", header, 14))
    f.jump(rules)
    for label, number, hint in ((udp, IPPROTO_UDP, "udp"), (sctp, IPPROTO_SCTP, "sctp")):
        f.place(label)
        ports(whole(number, hint))
        f.jump(rules)
    for label, number, family in ((icmp, IPPROTO_ICMP, ETH_P_IP), (icmp6, IPPROTO_ICMPV6, ETH_P_IPV6)):
        f.place(label)
        own_family = f.label(f"{label.name}_own")
        f.branch(f.compare("eq", registers.get("eth.type"), family), own_family, rules, likely=True)
        f.place(own_family)
        header = whole(number, label.name)
        registers.set(f"{label.name}.type", f.load("i8", header))
        registers.set(f"{label.name}.code", f.load("i8", f.gep(header, 1)))
        if registers.wanted(ECHO):
            registers.set(ECHO, frame.load_be("i16", header, 4))
        f.jump(rules)
