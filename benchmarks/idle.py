"""Programs that stay in the kernel's dispatcher of XDP programs while they are measured.

For each test run of a program that is attached nowhere the kernel changes that dispatcher, and waits longer
than the run takes. So programs are attached to devices that have no traffic: veth pairs in a namespace
without a name, which goes with the process.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from lockgate.runtime.sys import attrs, bpf, netns
from lockgate.runtime.sys.fd import Fd
from lockgate.stdlib_bpf import hooks

(POINT,) = hooks.ALL["xdp"].points[""]
_free: list[str] = []


@contextmanager
def attached(program: Fd) -> Iterator[None]:
    """Attach an XDP program to a device that nobody else uses meanwhile."""
    with _place().inside():
        device = _free.pop() if _free else _made()
        held = link(program, device)
    with held:
        yield
    _free.append(device)


def link(program: Fd, device: str) -> Fd:
    """Attach an XDP program to a device of this namespace, in the driver."""
    mode = attrs.XDP_FLAGS_DRV_MODE
    return bpf.link_create(program, socket.if_nametoindex(device), POINT.link_attach_type, mode, device)


@cache
def _place() -> netns.Nameless:
    return netns.Nameless()


def _made() -> str:
    name = f"idle{len(socket.if_nameindex())}"
    subprocess.run(["ip", "link", "add", name, "type", "veth"], check=True)
    return name
