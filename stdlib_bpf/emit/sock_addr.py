"""Emits the decoder of socket calls: the generated form of `decode.sock_addr`."""

from __future__ import annotations

from ..decode.frame import V4_MAPPED
from ..decode.sock_addr import LOOPBACK4, LOOPBACK6
from ..fields import ETH_P_IP, ETH_P_IPV6, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP
from ..layout import Struct
from ..state.cgroups import CGROUPS, ID_BYTES, LEVELS
from .llvm import Function, Label, Value, const
from .registers import COUNTED, Registers

BPF_GET_CURRENT_UID_GID, BPF_GET_CURRENT_ANCESTOR_CGROUP_ID = 15, 123


def emit(
    f: Function,
    context: Struct,
    variant: str,
    ctx: Value,
    registers: Registers,
    rules: Label,
    malformed: Label,
) -> None:
    """Decode the call. `variant`: "ip4" or "ip6", the family of the socket. The kernel lets a program read
    only its own family's members, each in words of 32 bits; addresses and port are in network order."""

    def member(name: str, at: int = 0) -> Value:
        return f.load("i32", f.gep(ctx, context.offset(name) + at), volatile=True)

    protocol = f.op("and", member("protocol"), 0xFF)
    registers.clear(protocol)
    registers.set(COUNTED, const("i32", 0))
    if registers.wanted("sock.uid"):
        registers.set("sock.uid", f.trunc(f.call_helper(BPF_GET_CURRENT_UID_GID, "i64"), "i32"))
    port = f.zext(f.byteswap(f.trunc(member("user_port"), "i16")), "i32")
    if variant == "ip4":
        _ip4(f, f.byteswap(member("user_ip4")), registers)
    else:
        _ip6(f, [member("user_ip6", at) for at in (0, 4, 8, 12)], registers)
    registers.set("ip.proto", protocol)
    registers.set("l4.proto", protocol)
    registers.set("th.dport", const("i32", 0))
    with_ports = f.label("with_ports")
    f.switch(protocol, rules, [(n, with_ports) for n in (IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP)])
    f.place(with_ports)
    registers.set("th.dport", port)
    f.jump(rules)


def caller(f: Function, registers: Registers, count: int) -> None:
    """Set `sock.cgroup`: which of the chain's `count` cgroups is the deepest one around the process."""
    # A zero that the verifier cannot see, as in `emit.frame`.
    registers.set("sock.cgroup", f.op("xor", registers.get("ip.proto"), registers.get("l4.proto")))
    level = f.alloca("i32", "level", 4)
    f.store(const("i32", 0), level)
    here, there, deeper, done = (f.label(f"cgroup_{hint}") for hint in ("here", "there", "deeper", "done"))
    f.jump(here)
    f.place(here)
    id_ = f.call_helper(BPF_GET_CURRENT_ANCESTOR_CGROUP_ID, "i64", f.load("i32", level))
    f.branch(f.compare("eq", id_, 0), done, there, likely=False)
    f.place(there)
    for place in range(count):
        this, other = f.label("cgroup_listed"), f.label("cgroup_other")
        listed = f.load("i64", f.gep(Value("ptr", f"@{CGROUPS}"), ID_BYTES * place))
        f.branch(f.compare("eq", id_, listed), this, other, likely=False)
        f.place(this)
        registers.set("sock.cgroup", const("i32", place + 1))
        f.jump(deeper)
        f.place(other)
    f.jump(deeper)
    f.place(deeper)
    following = f.op("add", f.load("i32", level), 1)
    f.store(following, level)
    f.branch(f.compare("ult", following, LEVELS), here, done)
    f.place(done)


def _ip4(f: Function, address: Value, registers: Registers) -> None:
    registers.set("eth.type", const("i32", ETH_P_IP))
    registers.set("ip4.dst", address)
    unspecified, done = f.label("unspecified4"), f.label("ip4_done")
    f.branch(f.compare("eq", address, 0), unspecified, done, likely=False)
    f.place(unspecified)
    registers.set("ip4.dst", const("i32", LOOPBACK4))
    f.jump(done)
    f.place(done)


def _ip6(f: Function, network_order: list[Value], registers: Registers) -> None:
    words = [f.byteswap(word) for word in network_order]
    upper = f.op("or", words[0], words[1])
    mapped, native, maybe = f.label("mapped"), f.label("native"), f.label("maybe_mapped")
    unspecified, done = f.label("unspecified6"), f.label("ip6_done")
    f.branch(f.compare("eq", upper, 0), maybe, native, likely=False)
    f.place(maybe)
    f.branch(f.compare("eq", words[2], V4_MAPPED), mapped, native, likely=False)
    f.place(mapped)
    _ip4(f, words[3], registers)
    f.jump(done)
    f.place(native)
    registers.set("eth.type", const("i32", ETH_P_IPV6))
    halves = [
        f.op("or", f.op("shl", f.zext(high, "i64"), 32), f.zext(low, "i64"))
        for high, low in (words[:2], words[2:])
    ]
    registers.set_wide("ip6.dst", *halves)
    f.branch(f.compare("eq", f.op("or", *halves), 0), unspecified, done, likely=False)
    f.place(unspecified)
    registers.set_wide("ip6.dst", const("i64", 0), const("i64", LOOPBACK6))
    f.jump(done)
    f.place(done)
