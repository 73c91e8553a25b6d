"""Packets as text: for tests, `lockgate eval` and witnesses.

    tcp 10.0.0.1:4000 > 10.0.0.2:80 syn        udp [2001:db8::1]:53 > [2001:db8::2]:53
    icmp 10.0.0.1 > 10.0.0.2 type 8            10.0.0.1 > 10.0.0.2 protocol 47
    tcp vlan 7 ttl 1 dscp ef                   arp op reply arp.spa 10.0.0.1
    arp                                        hex 0011223344…
    connect tcp 10.0.0.1:80                    sendmsg udp [::ffff:10.0.0.1]:53 uid 1000 cgroup /shop

Behind the addresses may stand any field with a value, by its name or a short word (`WORDS`); what is left out
has the defaults of `frames`. What a rule list knows by its place in a list is the number of that place, or a
name where the list is given. Knows words; must never know headers, nor a policy.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping, Sequence

from lockgate.stdlib_bpf import fields as f
from lockgate.stdlib_bpf.decode.frame import Frame, decode
from lockgate.stdlib_bpf.decode.sock_addr import SocketCall
from lockgate.stdlib_bpf.state import cgroups, devices

from . import frames
from .codes import NAMES, TCP_FLAGS, read_mac
from .irtext import print_value

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmp6": 58}
# Short words for fields; of two the one of the packet's own protocol.
WORDS = {
    "cgroup": ("sock.cgroup",),
    "code": ("icmp.code", "icmp6.code"),
    "dscp": ("ip.dscp",),
    "ecn": ("ip.ecn",),
    "fragment": ("ip.fragment",),
    "length": ("ip.length",),
    "mark": ("meta.mark",),
    "op": ("arp.op",),
    "options": ("ip4.options",),
    "priority": ("vlan.priority",),
    "protocol": ("ip.proto",),
    "ttl": ("ip.ttl",),
    "type": ("icmp.type", "icmp6.type"),
    "uid": ("sock.uid",),
    "vlan": ("vlan.id",),
    "window": ("tcp.window",),
}
WHAT = {"protocol": "a protocol number", "type": "an ICMP type"}
ADDRESSES = frozenset({"mac", "ip4", "ip6"})
CALLER = ("sock.uid", "sock.cgroup")  # what a socket call has besides its destination
# Styles of fields whose values are places in a list → the place of a name.
PLACES: dict[str, Callable[[Sequence[str], str], int]] = {"device": devices.place, "cgroup": cgroups.place}

Lists = Mapping[str, Sequence[str]]  # names by their places, from 1 on, by the style of the fields


class PacketTextError(ValueError):
    """Text that is no packet; the message says what is wrong and what would be right."""


# ---- text to packets ----

_ENDPOINT = re.compile(r"\[(?P<v6>[^\]]*)\](?::(?P<port6>\d+))?$|(?P<v4>[\d.]+)(?::(?P<port4>\d+))?$")


def parse(text: str, lists: Lists | None = None) -> Frame | SocketCall:
    """A frame or socket call from text. Raises PacketTextError."""
    words = re.findall(r'"[^"]*"|\S+', text)
    if not words:
        raise PacketTextError("no packet: write, for example, `tcp 10.0.0.1:4000 > 10.0.0.2:80 syn`")
    if words[0] == "hex":
        return Frame(_hex("".join(words[1:])))
    if words[0] in ("connect", "sendmsg"):
        return _call(words, lists)
    asked = _asked(words, lists)
    frame = frames.build(asked)
    found = decode(frame)  # what is malformed on purpose is taken as it is
    for name in frames.unmet(found, asked) if isinstance(found, dict) else ():
        raise PacketTextError(f"no packet like this has `{name} {value_text(name, asked[name])}`")
    return frame


def _hex(digits: str) -> bytes:
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise PacketTextError("`hex` wants an even number of digits 0-9 and a-f") from None


def _call(words: list[str], lists: Lists | None) -> SocketCall:
    fields = [WORDS.get(word, (word,))[0] for word in words[3::2]]
    if len(words) < 3 or words[1] not in PROTOCOLS or len(words) % 2 == 0 or not {*fields} <= {*CALLER}:
        raise PacketTextError(
            f"write `{words[0]} tcp 10.0.0.1:80` or `{words[0]} udp [2001:db8::1]:53 uid 1000 cgroup /shop`"
        )
    family, address, port = _endpoint(words[2])
    asked = {"ip.proto": PROTOCOLS[words[1]], f"ip{family}.dst": address}
    asked["eth.type"] = f.ETH_P_IP if family == 4 else f.ETH_P_IPV6
    if port is not None:
        asked["th.dport"] = port
    for name, word, text in zip(fields, words[3::2], words[4::2], strict=True):
        asked[name] = _value(word, name, text, lists)
    return frames.call(asked, words[0])


def _asked(words: list[str], lists: Lists | None = None) -> dict[str, int]:
    asked: dict[str, int] = {}
    rest = words
    if words[0] in PROTOCOLS or words[0] == "arp":
        rest = words[1:]
        asked |= {"eth.type": f.ETH_P_ARP} if words[0] == "arp" else {"ip.proto": PROTOCOLS[words[0]]}
    if rest and rest[0][0] in "[.0123456789":
        if len(rest) < 3 or rest[1] != ">":
            raise PacketTextError(
                f"`{' '.join(words)}` needs a source and a destination: `SOURCE > DESTINATION`"
            )
        (family, src, sport), (other, dst, dport) = _endpoint(rest[0]), _endpoint(rest[2])
        if family != other:
            raise PacketTextError(f"`{rest[0]}` and `{rest[2]}` are of different IP families")
        asked |= {f"ip{family}.src": src, f"ip{family}.dst": dst}
        asked |= {name: port for name, port in (("th.sport", sport), ("th.dport", dport)) if port is not None}
        rest = rest[3:]
    _details(asked, rest, lists)
    return asked


def _details(asked: dict[str, int], words: list[str], lists: Lists | None) -> None:
    """What follows the addresses: fields with their values, TCP flags."""
    at = 0
    while at < len(words):
        word = words[at]
        if (name := _field(word, asked)) is not None:
            if at + 1 == len(words):
                raise PacketTextError(f"`{word}` needs a value behind it")
            asked[name] = _value(word, name, words[at + 1], lists)
            at += 2
        else:
            asked["tcp.flags"] = asked.get("tcp.flags", 0) | _flags(word, asked)
            at += 1


def _field(word: str, asked: Mapping[str, int]) -> str | None:
    """The field that a word stands for."""
    fitting = WORDS.get(word, ())
    if len(fitting) == 2:
        return fitting[frames.implied_protocol(asked) == f.IPPROTO_ICMPV6]
    return fitting[0] if fitting else word if word in f.BY_NAME and word != f.L4_PROTO.name else None


def _flags(word: str, asked: Mapping[str, int]) -> int:
    flags = 0
    for flag in word.split(","):
        known = {**TCP_FLAGS, "none": 0}
        if flag not in known or frames.implied_protocol(asked) != f.IPPROTO_TCP:
            raise PacketTextError(
                f"`{flag}` is not understood: write TCP flags, `type T`, `protocol N` or `ttl N`"
            )
        flags |= known[flag]
    return flags


def _value(word: str, name: str, text: str, lists: Lists | None) -> int:
    """The value of a field from text."""
    row = f.BY_NAME[name]
    top = row.full.ranges[0][1]
    if row.style in PLACES and lists is not None:
        if not text.isdecimal():
            return _place(word, row.style, text.strip('"'), lists)
        top = len(lists[row.style])
    named = NAMES.get(name, {}).get(text)
    if named is not None:
        return named
    try:
        if row.style == "mac":
            return read_mac(text)
        if row.style in ("ip4", "ip6"):
            return int.from_bytes(
                socket.inet_pton(socket.AF_INET if row.style == "ip4" else socket.AF_INET6, text)
            )
        value = int(text, 0) if re.fullmatch(r"0x[0-9a-fA-F]+|\d+", text) else -1
    except (OSError, ValueError):
        value = -1
    if not 0 <= value <= top:
        right = "it is an address" if row.style in ADDRESSES else f"it must be 0 to {top}"
        raise PacketTextError(f"`{text}` is not {WHAT.get(word, f'a value of `{word}`')}: {right}")
    return value


def _place(word: str, style: str, name: str, lists: Lists) -> int:
    """The place of what a name stands for."""
    if style == "cgroup":
        if (reason := cgroups.problem(name)) is not None:
            raise PacketTextError(f"`{name}` is not a value of `{word}`: {reason}")
        name = cgroups.normal(name)
    return PLACES[style](lists[style], name)


def _endpoint(text: str) -> tuple[int, int, int | None]:
    """(family, address, port) of `10.0.0.1:80`, `[2001:db8::1]:80` or a bare address."""
    match = _ENDPOINT.match(text)
    address = (match["v6"] or match["v4"] or "") if match else text
    port = (match["port6"] or match["port4"]) if match else None
    family = 6 if ":" in address else 4
    try:
        packed = socket.inet_pton(socket.AF_INET6 if family == 6 else socket.AF_INET, address)
    except (OSError, ValueError):
        raise PacketTextError(
            f"`{text}` is not an address: write `10.0.0.1:80` or `[2001:db8::1]:80`"
        ) from None
    if port is not None and (len(port) > 5 or int(port) > 65535):
        raise PacketTextError(f"`{port}` is not a port: it must be 0 to 65535")
    return family, int.from_bytes(packed), None if port is None else int(port)


# ---- packets to text ----


def describe(facts: Mapping[str, int], lists: Lists | None = None) -> str:
    """Short text of fields, as `parse` reads it, for witnesses: what a packet with them looks like. Fields
    that are missing are left out or take their defaults."""
    short = {names[0]: word for word, names in WORDS.items()}
    words = _heading(facts)
    for name, value in besides(facts):
        words += [short.get(name, name), value_text(name, value, lists)]
    return " ".join(words)


def besides(facts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Fields, with their values, that must be said beside the heading to get such a packet; no more."""
    if any(name in facts for name in CALLER):
        return _of_caller(facts)
    base = _asked(_heading(facts))
    wanted = {row.name: facts[row.name] for row in f.ALL if row.name in facts}
    needed = {name: wanted[name] for name in _missed(base, wanted)}
    left = _missed(base | needed, wanted)
    for name in tuple(needed):
        fewer = {n: value for n, value in needed.items() if n != name}
        if _missed(base | fewer, wanted) == left:
            needed = fewer
    return list(needed.items())


def _of_caller(facts: Mapping[str, int]) -> list[tuple[str, int]]:
    return [(name, facts[name]) for name in CALLER if facts.get(name)]


def _missed(asked: Mapping[str, int], wanted: Mapping[str, int]) -> list[str]:
    found = decode(frames.build(asked))
    return frames.unmet(found if isinstance(found, dict) else {}, wanted)


def heading(facts: Mapping[str, int]) -> str:
    """Protocol, addresses, ports, flags and type only."""
    return " ".join(_heading(facts))


def _heading(facts: Mapping[str, int]) -> list[str]:
    eth_type = facts.get("eth.type", frames.implied_eth_type(facts))
    if eth_type not in f.IP:
        return ["arp"] if eth_type == f.ETH_P_ARP else ["eth.type", f"0x{eth_type:04x}"]
    family, proto = 4 if eth_type == f.ETH_P_IP else 6, frames.implied_protocol(facts)
    name = next((n for n, number in PROTOCOLS.items() if number == proto), None)
    ports = proto in f.WITH_PORTS and "th.dport" in facts
    source = facts.get(f"ip{family}.src", frames.DEFAULT_SRC[family])
    destination = facts.get(f"ip{family}.dst", frames.DEFAULT_DST[family])
    words = [] if name is None else [name]
    words += [
        _end_text(family, source, facts.get("th.sport") if ports else None),
        ">",
        _end_text(family, destination, facts.get("th.dport") if ports else None),
    ]
    if name is None:
        words += ["protocol", str(proto)]
    elif proto == f.IPPROTO_TCP and "tcp.flags" in facts:
        words.append(",".join(n for n, bit in TCP_FLAGS.items() if facts["tcp.flags"] & bit) or "none")
    elif (kind := facts.get("icmp.type", facts.get("icmp6.type"))) is not None:
        words += ["type", str(kind)]
    return words


def value_text(name: str, value: int, lists: Lists | None = None) -> str:
    """A value as `parse` reads it: a name where the field has one for it."""
    listed = (lists or {}).get(f.BY_NAME[name].style, ())
    if 0 < value <= len(listed):
        return f'"{listed[value - 1]}"'
    named = next((word for word, number in NAMES.get(name, {}).items() if number == value), None)
    return print_value(value, f.BY_NAME[name].style) if named is None else named


def describe_call(facts: Mapping[str, int], lists: Lists | None = None) -> str:
    """Text of a socket call with these fields, as `parse` reads it."""
    family = 6 if facts.get("eth.type") == f.ETH_P_IPV6 or "ip6.dst" in facts else 4
    proto = facts.get("ip.proto", f.IPPROTO_TCP)
    name = next((n for n, number in PROTOCOLS.items() if number == proto), f"protocol {proto}")
    address = facts.get(f"ip{family}.dst", frames.DEFAULT_DST[family])
    port = facts.get("th.dport", frames.DEFAULT_DPORT)
    words = ["connect", name, _end_text(family, address, port)]
    for field, value in _of_caller(facts):
        words += [field.removeprefix("sock."), value_text(field, value, lists)]
    return " ".join(words)


def address_text(family: int, address: int) -> str:
    """An address as people write it."""
    if family == 6:
        return socket.inet_ntop(socket.AF_INET6, address.to_bytes(16))
    return socket.inet_ntop(socket.AF_INET, address.to_bytes(4))


def _end_text(family: int, address: int, port: int | None) -> str:
    text = address_text(family, address)
    text = f"[{text}]" if family == 6 else text
    return text if port is None else f"{text}:{port}"
