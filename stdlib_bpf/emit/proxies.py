"""Emits how calls get to a local proxy, and how it learns whom they were for.

`send` is the end of a policy's program at connect: the caller's socket keeps whom it named, and the call
names the proxy. `peer` runs at getpeername and shows the caller whom it named. `handshake` runs at events of
TCP sockets and carries what the caller's socket knows to the proxy's. `original` answers
getsockopt(SO_ORIGINAL_DST) of the proxy as netfilter's REDIRECT does. The maps are those of `state.proxies`.
Knows no policy.

What is remembered is written before the call is changed: no connection reaches a proxy without being known.
"""

from __future__ import annotations

from ..fields import IPPROTO_TCP
from ..hooks.connect import SOCK_ADDR
from ..hooks.proxies import SOCK_OPS, SOCKOPT
from ..layout import Struct
from ..state.proxies import CALLER, CALLER_SIDE, CALLERS, NOBODY, ORIGINAL, PROXIED, PROXY_SIDE
from .balance_choice import BPF_GET_NETNS_COOKIE, BPF_MAP_UPDATE_ELEM, look_up
from .effects import BPF_SET_RETVAL
from .llvm import NULL, Function, Label, Value, const

BPF_SK_STORAGE_GET, BPF_SK_STORAGE_GET_F_CREATE = 107, 1
BPF_MAP_DELETE_ELEM, BPF_SOCK_OPS_CB_FLAGS_SET = 3, 59
AF_INET, AF_INET6 = 2, 10
ENOMEM = 12
GO_ON, REFUSE = 1, 0
MAPPED_WORD = 0xFFFF0000  # bytes 8 to 11 of ::ffff:0:0/96, as a little-endian word
LOOPBACK4, LOOPBACK6 = 0x0100007F, 0x01000000  # 127.0.0.1, and the last word of ::1, likewise
WORDS = (0, 4, 8, 12)
TCP_CONNECT_CB, PASSIVE_ESTABLISHED_CB, STATE_CB = 3, 5, 10  # include/uapi/linux/bpf.h
STATE_CB_FLAG, TCP_CLOSE = 1 << 2, 7
SOL_IP, SOL_IPV6, SO_ORIGINAL_DST = 0, 41, 80  # include/uapi/linux/netfilter_ipv4.h, …_ipv6/ip6_tables.h
SOCKADDR_IN_BYTES, SOCKADDR_IN6_BYTES = 16, 28


class _Program:
    """What these programs share. `go_on`: a label where the program ends and nothing is changed."""

    def __init__(self, f: Function, context: Struct) -> None:
        self.f, self.context, self.ctx = f, context, Value("ptr", "%ctx")
        self.go_on = f.label("go_on")

    def read(self, name: str, at: int = 0, type_: str = "i32") -> Value:
        """A member of the context."""
        return self.f.load(type_, self.f.gep(self.ctx, self.context.offset(name) + at), volatile=True)

    def write(self, name: str, value: Value, at: int = 0) -> None:
        """Change a member of the context."""
        self.f.store(value, self.f.gep(self.ctx, self.context.offset(name) + at), volatile=True)

    def known(self, flags: int, missing: Label) -> Value:
        """What is known of the socket."""
        f, there, found = self.f, self.f.label("socket"), self.f.label("known")
        sk = self.read("sk", type_="ptr")
        f.branch(f.compare("ne", sk, NULL), there, missing)
        f.place(there)
        entry = f.call_helper(
            BPF_SK_STORAGE_GET, "ptr", Value("ptr", f"@{PROXIED}"), sk, NULL, const("i64", flags)
        )
        f.branch(f.compare("ne", entry, NULL), found, missing)
        f.place(found)
        return entry

    def only(self, condition: Value, otherwise: Label, likely: bool | None = None) -> None:
        """Go on here if a condition holds."""
        yes = self.f.label("yes")
        self.f.branch(condition, yes, otherwise, likely)
        self.f.place(yes)

    def side(self, entry: Value) -> Value:
        """Whose socket it is."""
        return self.f.load("i16", self.f.gep(entry, ORIGINAL.offset("side")), volatile=True)

    def set_side(self, entry: Value, side: int) -> None:
        """Say whose socket it is."""
        self.f.store(const("i16", side), self.f.gep(entry, ORIGINAL.offset("side")), volatile=True)

    def end(self) -> None:
        """Let things take their course."""
        self.f.place(self.go_on)
        self.f.ret(const("i32", GO_ON))


class Call(_Program):
    """A program that sees a socket's destination. `variant`: "ip4" or "ip6", the family of the socket."""

    def __init__(self, f: Function, variant: str) -> None:
        super().__init__(f, SOCK_ADDR)
        self.variant = variant

    def send(self, port: Value, verdict: Value) -> None:
        """Send the call to the proxy at `port` of loopback (i32, host order), or, where that is 0, forget
        that the socket was sent to one before. `verdict`: where a call that cannot be sent is refused."""
        f, done, failed = self.f, self.f.label("proxy_done"), self.f.label("no_memory")
        sent, direct = f.label("sent"), f.label("direct")
        self.only(f.compare("eq", self.read("protocol"), IPPROTO_TCP), done)
        f.branch(f.compare("eq", port, 0), direct, sent)
        f.place(direct)
        self.set_side(self.known(0, done), NOBODY)
        f.jump(done)
        f.place(sent)
        entry = self.known(BPF_SK_STORAGE_GET_F_CREATE, failed)
        self.set_side(entry, NOBODY)
        words = self._words()
        for at, word in zip(WORDS, words, strict=True):
            f.store(word, f.gep(entry, ORIGINAL.offset("address") + at), volatile=True)
        named = f.trunc(self.read("user_port"), "i16")
        f.store(named, f.gep(entry, ORIGINAL.offset("port")), volatile=True)
        self.set_side(entry, CALLER_SIDE)
        self.write("user_port", f.zext(f.byteswap(f.trunc(port, "i16")), "i32"))
        if self.variant == "ip4":
            self.write("user_ip4", const("i32", LOOPBACK4))
        else:
            self._loopback6(words)
        f.jump(done)
        f.place(failed)
        f.call_helper(BPF_SET_RETVAL, "i64", const("i32", -ENOMEM))
        f.store(const("i32", REFUSE), verdict)
        f.jump(done)
        f.place(done)

    def peer(self) -> None:
        """Show the caller whom it named."""
        f = self.f
        entry = self.known(0, self.go_on)
        self.only(f.compare("eq", self.side(entry), CALLER_SIDE), self.go_on)
        members = [("user_ip4", 0, 12)] if self.variant == "ip4" else [("user_ip6", at, at) for at in WORDS]
        for name, to, at in members:
            self.write(name, f.load("i32", f.gep(entry, ORIGINAL.offset("address") + at)), to)
        self.write("user_port", f.zext(f.load("i16", f.gep(entry, ORIGINAL.offset("port"))), "i32"))
        f.jump(self.go_on)
        self.end()

    def _words(self) -> list[Value]:
        if self.variant == "ip4":
            zero = const("i32", 0)
            return [zero, zero, const("i32", MAPPED_WORD), self.read("user_ip4")]
        return [self.read("user_ip6", at) for at in WORDS]

    def _loopback6(self, words: list[Value]) -> None:
        """::1, or ::ffff:127.0.0.1 of a mapped call, which is one of IPv4."""
        f, native, mapped, done = self.f, *(self.f.label(n) for n in ("native", "as_mapped", "named"))
        f.branch(is_mapped(f, words), mapped, native)
        for label, third, last in ((mapped, MAPPED_WORD, LOOPBACK4), (native, 0, LOOPBACK6)):
            f.place(label)
            for at, word in zip(WORDS, (0, 0, third, last), strict=True):
                self.write("user_ip6", const("i32", word), at)
            f.jump(done)
        f.place(done)


class Handshake(_Program):
    """The program at events of TCP sockets, of callers and of proxies."""

    def __init__(self, f: Function) -> None:
        super().__init__(f, SOCK_OPS)
        self.key = f.alloca(f"[{CALLER.size} x i8]", "key")

    def emit(self) -> None:
        """A caller's SYN leaves, a proxy's socket comes to be, a caller's socket closes."""
        f = self.f
        leaves, comes, changes = f.label("leaves"), f.label("comes"), f.label("changes")
        f.switch(
            self.read("op"),
            self.go_on,
            [(TCP_CONNECT_CB, leaves), (PASSIVE_ESTABLISHED_CB, comes), (STATE_CB, changes)],
        )
        callers = Value("ptr", f"@{CALLERS}")
        f.place(leaves)
        entry = self._callers()
        self._key("local", "remote")
        f.call_helper(BPF_MAP_UPDATE_ELEM, "i64", callers, self.key, entry, const("i64", 0))
        flags = f.op("or", self.read("cb_flags"), STATE_CB_FLAG)
        f.call_helper(BPF_SOCK_OPS_CB_FLAGS_SET, "i64", self.ctx, flags)
        f.jump(self.go_on)
        f.place(comes)
        self._key("remote", "local")
        note = look_up(f, callers, self.key, self.go_on, "note")
        entry = self.known(BPF_SK_STORAGE_GET_F_CREATE, self.go_on)
        for at in (0, 8):
            f.store(f.load("i64", f.gep(note, at)), f.gep(entry, at), volatile=True)
        port = f.load("i16", f.gep(note, ORIGINAL.offset("port")))
        f.store(port, f.gep(entry, ORIGINAL.offset("port")), volatile=True)
        self.set_side(entry, PROXY_SIDE)
        f.call_helper(BPF_MAP_DELETE_ELEM, "i64", callers, self.key)
        f.jump(self.go_on)
        f.place(changes)
        self.only(f.compare("eq", self.read("args", 4), TCP_CLOSE), self.go_on)
        self._callers()
        self._key("local", "remote")
        f.call_helper(BPF_MAP_DELETE_ELEM, "i64", callers, self.key)
        f.jump(self.go_on)
        self.end()

    def _callers(self) -> Value:
        """What is known of a caller's socket; nothing is done for any other."""
        entry = self.known(0, self.go_on)
        self.only(self.f.compare("eq", self.side(entry), CALLER_SIDE), self.go_on)
        return entry

    def _key(self, caller: str, proxy: str) -> None:
        """The caller's address and the proxy's port. `caller`, `proxy`: which end each is, "local" or
        "remote"."""
        f, ip4, done = self.f, self.f.label("ip4"), self.f.label("addressed")
        netns = f.call_helper(BPF_GET_NETNS_COOKIE, "i64", self.ctx)
        f.store(netns, f.gep(self.key, CALLER.offset("netns")))
        for at in WORDS:
            word = self.read(f"{caller}_ip6", at)
            f.store(word, f.gep(self.key, CALLER.offset("address") + at))
        f.store(self._port(caller), f.gep(self.key, CALLER.offset("port")))
        f.store(self._port(proxy), f.gep(self.key, CALLER.offset("proxy")))
        f.store(const("i32", 0), f.gep(self.key, CALLER.offset("pad")))
        f.branch(f.compare("eq", self.read("family"), AF_INET), ip4, done)
        f.place(ip4)
        words = [const("i32", 0), const("i32", 0), const("i32", MAPPED_WORD), self.read(f"{caller}_ip4")]
        for at, word in zip(WORDS, words, strict=True):
            f.store(word, f.gep(self.key, CALLER.offset("address") + at))
        f.jump(done)
        f.place(done)

    def _port(self, end: str) -> Value:
        """A port in network order (i16)."""
        f, port = self.f, self.read(f"{end}_port")
        return f.trunc(f.op("lshr", port, 16), "i16") if end == "remote" else f.byteswap(f.trunc(port, "i16"))


class Option(_Program):
    """The program behind getsockopt of a proxy."""

    def __init__(self, f: Function) -> None:
        super().__init__(f, SOCKOPT)

    def emit(self) -> None:
        """Answer SO_ORIGINAL_DST of either family, whatever the kernel itself made of it."""
        f, ip4, ip6 = self.f, self.f.label("ip4"), self.f.label("ip6")
        self.only(f.compare("eq", self.read("optname"), SO_ORIGINAL_DST), self.go_on, likely=False)
        level, asked = self.read("level"), f.label("asked")
        f.switch(level, self.go_on, [(SOL_IP, asked), (SOL_IPV6, asked)])
        f.place(asked)
        entry = self.known(0, self.go_on)
        self.only(f.compare("eq", self.side(entry), PROXY_SIDE), self.go_on)
        words = [f.load("i32", f.gep(entry, ORIGINAL.offset("address") + at)) for at in WORDS]
        port = f.load("i16", f.gep(entry, ORIGINAL.offset("port")))
        is4, is6 = f.label("to_ip4"), f.label("to_ip6")
        f.branch(is_mapped(f, words), is4, is6)
        f.place(is4)
        f.branch(f.compare("eq", level, SOL_IP), ip4, self.go_on)
        f.place(is6)
        f.branch(f.compare("eq", level, SOL_IPV6), ip6, self.go_on)
        f.place(ip4)
        zero = const("i32", 0)
        self._answer(SOCKADDR_IN_BYTES, AF_INET, port, [words[3], zero, zero])
        f.place(ip6)
        self._answer(SOCKADDR_IN6_BYTES, AF_INET6, port, [zero, *words, zero])
        self.end()

    def _answer(self, size: int, family: int, port: Value, words: list[Value]) -> None:
        """struct sockaddr_in or sockaddr_in6: family, port, then words of 32 bits."""
        f = self.f
        value, end = self.read("optval", type_="ptr"), self.read("optval_end", type_="ptr")
        self.only(f.compare("ule", f.gep(value, size), end), self.go_on)
        f.store(const("i16", family), value, volatile=True)
        f.store(port, f.gep(value, 2), volatile=True)
        for number, word in enumerate(words, 1):
            f.store(word, f.gep(value, 4 * number), volatile=True)
        self.write("optlen", const("i32", size))
        self.write("retval", const("i32", 0))
        f.jump(self.go_on)


def is_mapped(f: Function, words: list[Value]) -> Value:
    """Whether an address of four words is in ::ffff:0:0/96."""
    third = f.op("xor", words[2], -(1 << 16))
    return f.compare("eq", f.op("or", f.op("or", words[0], words[1]), third), 0)
