"""Runs a tc program on frames that BPF_PROG_TEST_RUN refuses: sent by a packet socket through the loopback
device of a network namespace that nobody else sees.

The program sits at the egress hook, so it has run when send(2) returns, and a dropped frame is ENOBUFS. The
namespace lives as long as the socket. Frames need 14 bytes at least, and fit the device's 64 KiB.
"""

from __future__ import annotations

import errno
import socket

from .refusal import explain
from .sys import attrs, bpf, netns
from .sys.fd import Fd
from .sys.link import loopback_up

TC_ACT_SHOT = 2  # include/uapi/linux/pkt_cls.h
LOOPBACK_IFINDEX = 1  # the first device of every namespace


class Wire:
    """A wire with the program at its entrance. Close it."""

    def __init__(self, program: Fd) -> None:
        with netns.fresh():
            loopback_up()
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            try:
                self._socket.bind(("lo", 0))
                self._link = bpf.link_create(
                    program, LOOPBACK_IFINDEX, attrs.TCX_EGRESS, 0, "a throw-away loopback device"
                )
            except bpf.BpfError as error:
                self._socket.close()
                raise explain(error, "attaching to a throw-away loopback device", "tcx-link") from error
            except BaseException:
                self._socket.close()
                raise

    def send(self, frame: bytes, mark: int = 0) -> bool:
        """Send a frame with a mark; False when the program dropped it."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        try:
            self._socket.send(frame)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return False
        return True

    def close(self) -> None:
        """Detach, and let the namespace go."""
        self._link.close()
        self._socket.close()
