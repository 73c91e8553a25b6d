"""Brings the loopback interface up, by ioctl(2): a fresh network namespace has it down.

Source: include/uapi/linux/sockios.h, netdevice(7).
"""

from __future__ import annotations

import fcntl
import socket
import struct

_SIOCSIFFLAGS, _IFF_UP, _IFNAMSIZ = 0x8914, 1, 16


def loopback_up() -> None:
    """OSError (EPERM) without CAP_NET_ADMIN over the namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, _SIOCSIFFLAGS, struct.pack(f"{_IFNAMSIZ}sh22x", b"lo", _IFF_UP))
