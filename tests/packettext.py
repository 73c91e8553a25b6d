"""Packets as file tests write them: `compiler.packet` text, with what is done to the frame in parentheses.

    tcp 10.0.0.1:4000 > 10.0.0.2:80 syn
    (vlan 7, vlan 8) udp 10.0.0.1:53 > 10.0.0.2:53          two tags, the first one outermost
    (options 8, fragment 0 more) tcp 10.0.0.1 > 10.0.0.2     IPv4 options; a first fragment
    (headers hop ah fragment:0) tcp [2001:db8::1] > [2001:db8::2]
    (data 00500050, pad 6, cut 30) arp                       payload; bytes behind the packet; 30 bytes left
    (tag in metadata 0x2007, linear 14, mark 5, iif 1) hex 0011…    how it lies in the buffer, at tc
    (first buffer 60) tcp 10.0.0.1 > 10.0.0.2                the rest lies in another buffer, at xdp
    (at 1500, segments 3) udp 10.0.0.1 > 10.0.0.2            ms; packets of the wire
    (at 20) connect tcp 10.0.0.1:80

Steps are taken from left to right, on a plain Ethernet frame that `compiler.packet` made. Lengths are kept
right (checksums are not: nobody looks at them).
"""

from __future__ import annotations

import re
from dataclasses import replace

from lockgate.compiler import packet
from lockgate.stdlib_bpf.decode.frame import Frame
from lockgate.stdlib_bpf.decode.sock_addr import SocketCall

KINDS = {"hop": 0, "routing": 43, "fragment": 44, "ah": 51, "destination": 60, "mobility": 135}
IP4, IP6 = b"\x08\x00", b"\x86\xdd"
HEAD = 14
MS = 1_000_000


class BadPacketText(ValueError):  # noqa: N818 - reads as what happened
    """Text that is no packet; the message says why."""


def parse(text: str) -> Frame | SocketCall:
    """A frame or a socket call. Raises BadPacketText."""
    match = re.fullmatch(r"\((?P<steps>[^)]*)\)\s*(?P<plain>.*)", text.strip())
    try:
        plain = packet.parse(match["plain"] if match else text)
    except packet.PacketTextError as reason:
        raise BadPacketText(str(reason)) from reason
    if isinstance(plain, SocketCall):
        words = match["steps"].split() if match else ["at", "0"]
        if words[:1] != ["at"]:
            raise BadPacketText("all one can say of a socket call is when it is made")
        return replace(plain, time_ns=int(words[1]) * MS)
    frame = plain
    tags = 0
    for step in match["steps"].split(",") if match else ():
        words = step.split()
        if words[:1] in (["vlan"], ["svlan"]):
            tpid = b"\x81\x00" if words[0] == "vlan" else b"\x88\xa8"
            at = 12 + 4 * tags
            tag = tpid + int(words[1]).to_bytes(2)
            frame, tags = replace(frame, data=frame.data[:at] + tag + frame.data[at:]), tags + 1
        elif words[:3] == ["tag", "in", "metadata"]:
            frame = replace(frame, vlan_tci=int(words[3], 0) if words[3:] else 1)
        elif words[:1] == ["iif"]:
            frame = replace(frame, iif=None if words[1] == "none" else int(words[1]))
        elif words[:1] == ["mark"]:
            frame = replace(frame, mark=int(words[1], 0))
        elif words[:1] == ["linear"]:
            frame = replace(frame, linear=int(words[1]))
        elif words[:2] == ["first", "buffer"]:
            frame = replace(frame, first_buffer=int(words[2]))
        elif words[:1] == ["at"]:
            frame = replace(frame, time_ns=int(words[1]) * MS)
        elif words[:1] == ["segments"]:
            frame = replace(frame, segments=int(words[1]))
        elif not words or words[0] not in STEPS:
            raise BadPacketText(f"`{step.strip()}` is no step; known: {', '.join(sorted(STEPS))}")
        else:
            frame = replace(frame, data=STEPS[words[0]](frame.data, words[1:]))
    return frame


def write(item: Frame | SocketCall) -> str:
    """Text that `parse` reads back to the same value."""
    if isinstance(item, SocketCall):
        names = {number: name for name, number in packet.PROTOCOLS.items()}
        width = 4 if item.family == 2 else 16
        raw = item.address.to_bytes(width)
        host = ".".join(map(str, raw)) if width == 4 else "[" + raw.hex(":", 2) + "]"
        when = f"(at {item.time_ns // MS}) " if item.time_ns else ""
        caller = f" uid {item.uid}" * bool(item.uid) + f" cgroup {item.cgroup}" * bool(item.cgroup)
        return f"{when}{item.operation} {names.get(item.protocol, item.protocol)} {host}:{item.port}{caller}"
    steps = [] if item.vlan_tci is None else [f"tag in metadata 0x{item.vlan_tci:04x}"]
    steps += [f"mark 0x{item.mark:x}"] if item.mark else []
    steps += [f"iif {'none' if item.iif is None else item.iif}"] if item.iif != 0 else []
    steps += [] if item.linear is None else [f"linear {item.linear}"]
    steps += [] if item.first_buffer is None else [f"first buffer {item.first_buffer}"]
    steps += [f"at {item.time_ns // MS}"] if item.time_ns else []
    steps += [f"segments {item.segments}"] if item.segments != 1 else []
    return (f"({', '.join(steps)}) " if steps else "") + f"hex {item.data.hex()}"


def _split(frame: bytes) -> tuple[bytes, bytes]:
    """(Ethernet header with its tags, rest)."""
    end = HEAD
    while frame[end - 2 : end] in (b"\x81\x00", b"\x88\xa8"):
        end += 4
    return frame[:end], frame[end:]


def _relength(ip: bytes) -> bytes:
    """An IP packet whose length fields fit its bytes."""
    if ip[0] >> 4 == 4:
        return ip[:2] + len(ip).to_bytes(2) + ip[4:]
    return ip[:4] + (len(ip) - 40).to_bytes(2) + ip[6:]


def _cut(frame: bytes, words: list[str]) -> bytes:
    return frame[: int(words[0])]


def _pad(frame: bytes, words: list[str]) -> bytes:
    return frame + bytes(int(words[0]))


def _data(frame: bytes, words: list[str]) -> bytes:
    link, ip = _split(frame)
    return link + _relength(ip + bytes.fromhex(words[0]))


def _instead(frame: bytes, words: list[str]) -> bytes:
    """Everything behind the fixed IP header is replaced."""
    link, ip = _split(frame)
    return link + _relength(ip[: 20 if ip[0] >> 4 == 4 else 40] + bytes.fromhex(words[0] if words else ""))


def _options(frame: bytes, words: list[str]) -> bytes:
    link, ip = _split(frame)
    size = int(words[0])
    ip = bytes((0x45 + size // 4,)) + ip[1:20] + b"\1" * size + ip[20:]
    return link + _relength(ip)


def _fragment(frame: bytes, words: list[str]) -> bytes:
    """IPv4: offset in units of 8 bytes; `more`: more fragments follow."""
    link, ip = _split(frame)
    value = int(words[0]) | (0x2000 if "more" in words else 0)
    return link + ip[:6] + value.to_bytes(2) + ip[8:]


def _headers(frame: bytes, words: list[str]) -> bytes:
    """IPv6 extension headers, in order; `fragment:OFFSET`, `ah:UNITS`, `routing:UNITS`."""
    link, ip = _split(frame)
    rest, following = ip[40:], ip[6]
    for word in reversed(words):
        name, _, number = word.partition(":")
        kind = KINDS.get(name)
        if kind == KINDS["fragment"]:
            more = number.endswith("+")
            place = int(number.rstrip("+") or 0) << 3 | more
            header = bytes((following, 0)) + place.to_bytes(2) + bytes(4)
        elif kind is not None:
            units = int(number) if number else (4 if name == "ah" else 0)
            header = bytes((following, units)).ljust(
                (units + 2) * 4 if name == "ah" else (units + 1) * 8, b"\1"
            )
        else:
            raise BadPacketText(f"`{word}` is no extension header: {', '.join(KINDS)}")
        rest, following = header + rest, kind
    return link + _relength(ip[:6] + bytes((following,)) + ip[7:40] + rest)


def _set(frame: bytes, words: list[str]) -> bytes:
    """`set OFFSET HEX`: bytes of the frame as they are by now."""
    at, new = int(words[0]), bytes.fromhex(words[1])
    return frame[:at] + new + frame[at + len(new) :]


STEPS = {
    "cut": _cut,
    "pad": _pad,
    "data": _data,
    "instead": _instead,
    "options": _options,
    "fragment": _fragment,
    "headers": _headers,
    "set": _set,
}
