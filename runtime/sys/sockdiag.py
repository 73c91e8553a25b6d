"""Sockets of a network namespace, and their end: netlink's SOCK_DIAG (include/uapi/linux/sock_diag.h,
inet_diag.h; net/ipv4/inet_diag.c).

A dump gives sockets that have a peer, those of TCP with what a map of type SK_STORAGE keeps of them. To
destroy one is to abort it: its process gets ECONNABORTED. Knows netlink, and no balancer. Works in the
namespace of the calling thread.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from .bpf import map_info
from .fd import Fd

_NETLINK_SOCK_DIAG = 4
_BY_FAMILY, _DESTROY = 20, 21
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr
_SOCKET_ID_BYTES = 48  # struct inet_diag_sockid: ports and addresses in network order, interface, cookie
_REQUEST_HEAD = struct.Struct("=BBBBI")  # struct inet_diag_req_v2 in front of the id
_FOUND_HEAD = struct.Struct("=BBBB")  # struct inet_diag_msg in front of the id
_FOUND_BYTES = 4 + _SOCKET_ID_BYTES + 20
_REQ_SK_BPF_STORAGES, _REQ_MAP_FD = 2, 1
_SK_BPF_STORAGES, _STORAGE, _MAP_ID, _MAP_VALUE = 20, 1, 2, 3
_NESTED, _TYPE = 1 << 15, (1 << 14) - 1
# enum of include/net/tcp_states.h: a TCP socket with a peer, in whatever state; a UDP socket that is
# connected.
_STATES = {socket.IPPROTO_TCP: 0xFFF & ~(1 << 6 | 1 << 7 | 1 << 10), socket.IPPROTO_UDP: 1 << 1}
PROTOCOLS = tuple(_STATES)
FAMILIES = (socket.AF_INET, socket.AF_INET6)


@dataclass(frozen=True)
class Found:
    """A socket with a peer. `id`: what names it to the kernel; `port` and `address`: the peer's, the latter
    in network order, 4 or 16 bytes; `value`: what the map keeps of the socket, None when the kernel does not
    say: of UDP it never does (net/ipv4/udp_diag.c)."""

    family: int
    protocol: int
    id: bytes
    port: int
    address: bytes
    inode: int
    value: bytes | None


def sockets(storage: Fd) -> Iterator[Found]:
    """TCP and UDP sockets with a peer. OSError when the kernel refuses."""
    map_id = map_info(storage).id
    for family in FAMILIES:
        for protocol in PROTOCOLS:
            yield from _dumped(family, protocol, storage, map_id)


def destroy(found: Found) -> bool:
    """End a socket; False when it has ended by itself. OSError when the kernel refuses."""
    head = _REQUEST_HEAD.pack(found.family, found.protocol, 0, 0, 0xFFFFFFFF)
    with _opened() as channel:
        channel.send(_message(_DESTROY, _REQUEST | _ACK, head + found.id))
        _, _, body = next(_messages(channel))
        code = -struct.unpack_from("=i", body)[0]
    if code in (errno.ENOENT, errno.ECONNABORTED):
        return False
    if code:
        raise OSError(code, os.strerror(code), "destroying a socket")
    return True


def _dumped(family: int, protocol: int, storage: Fd, map_id: int) -> Iterator[Found]:
    wanted = _attribute(_REQ_MAP_FD, struct.pack("=I", storage.number))
    asked = _attribute(_REQ_SK_BPF_STORAGES | _NESTED, wanted)
    head = _REQUEST_HEAD.pack(family, protocol, 0, 0, _STATES[protocol])
    with _opened() as channel:
        channel.send(_message(_BY_FAMILY, _REQUEST | _DUMP, head + bytes(_SOCKET_ID_BYTES) + asked))
        for kind, _, body in _messages(channel):
            if kind == _DONE:
                return
            if kind == _ERROR:
                code = -struct.unpack_from("=i", body)[0]
                raise OSError(code, os.strerror(code), "listing sockets")
            known = _FOUND_HEAD.unpack_from(body)[0]
            id_ = body[4 : 4 + _SOCKET_ID_BYTES]
            port = struct.unpack_from(">H", id_, 2)[0]
            address = id_[20:24] if known == socket.AF_INET else id_[20:36]
            inode = struct.unpack_from("=I", body, _FOUND_BYTES - 4)[0]
            yield Found(known, protocol, id_, port, address, inode, _value(body, map_id))


def _value(body: bytes, map_id: int) -> bytes | None:
    """What a map keeps of the socket of a message."""
    for kind, content in _attributes(body[_FOUND_BYTES:]):
        if kind != _SK_BPF_STORAGES:
            continue
        for inner, storage in _attributes(content):
            if inner == _STORAGE:
                parts = dict(_attributes(storage))
                if struct.unpack("=I", parts[_MAP_ID][:4])[0] == map_id and _MAP_VALUE in parts:
                    return parts[_MAP_VALUE]
    return None


def _opened() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body


def _messages(channel: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    """(type, flags, body) of what comes."""
    while True:
        data = channel.recv(1 << 20)
        at = 0
        while at + _HEADER.size <= len(data):
            length, kind, flags, _, _ = _HEADER.unpack_from(data, at)
            yield kind, flags, data[at + _HEADER.size : at + length]
            at += (length + 3) & ~3


def _attribute(kind: int, content: bytes) -> bytes:
    raw = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(content), kind) + content
    return raw + bytes(-len(raw) % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _TYPE, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
