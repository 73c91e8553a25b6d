"""What a kernel may lack. A feature is a name, the version that brought it, and a probe; probes run only to
explain a refusal, never before trying (architecture, principle 13).

Versions from the kernel's history: bpf_link for XDP 5.9, XDP frames of several buffers 5.18, TCX 6.6, cgroup
sock_addr links 5.7, ring buffer 5.8, batch operations on LPM tries 5.12 (per-CPU arrays 5.13).
"""

from __future__ import annotations

import errno
import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lockgate.stdlib_bpf.hooks.xdp import BPF_F_XDP_HAS_FRAGS

from . import btf
from .sys import attrs, bpf
from .sys.fd import Fd

# r0 = 2; exit
_RETURN_2 = bytes((0xB7, 0, 0, 0, 2, 0, 0, 0)) + bytes((0x95, 0, 0, 0, 0, 0, 0, 0))

_OF_CGROUPS = (13, 18, 25)  # SOCK_OPS, CGROUP_SOCK_ADDR, CGROUP_SOCKOPT: they return 0 or 1


@dataclass(frozen=True)
class Feature:
    """`probe` is true when the running kernel has it."""

    name: str
    title: str
    min_kernel: str
    probe: Callable[[], bool]


def _program(prog_type: int, attach_type: int, flags: int = 0) -> Fd:
    insns = _RETURN_2.replace(b"\2", b"\1", 1) if prog_type in _OF_CGROUPS else _RETURN_2
    program = bpf.Program("lg_probe", prog_type, attach_type, insns, "GPL", flags=flags)
    return bpf.prog_load(program, None)[0]


def _link(prog_type: int, load_type: int, attach_type: int) -> bool:
    """A link at a target that never exists: kernels that know the command look the target up."""
    try:
        with _program(prog_type, load_type) as program:
            bpf.link_create(program, 0x7FFFFFFF, attach_type, 0, "a feature probe").close()
    except bpf.BpfError as error:
        return error.errno in (errno.ENODEV, errno.EBADF)
    return True


def _xdp_link() -> bool:
    """A missing device and a missing command are both EINVAL here, so ask the kernel's own type information,
    and without it the release."""
    try:
        return b"\0bpf_xdp_link\0" in Path("/sys/kernel/btf/vmlinux").read_bytes()
    except OSError:
        return tuple(int(n) for n in re.findall(r"\d+", platform.release())[:2]) >= (5, 9)


def _xdp_frags() -> bool:
    try:
        _program(6, 37, BPF_F_XDP_HAS_FRAGS).close()
    except bpf.BpfError:
        return False
    return True


def _sk_storage() -> bool:
    data, key, value = btf.bytes_by_int(8)
    try:
        with bpf.btf_load(data, "lg_probe") as types:
            bpf.map_create(24, 4, 8, 0, 1, "lg_probe", types=(types, key, value)).close()
    except bpf.BpfError:
        return False
    return True


def _ring() -> bool:
    try:
        bpf.map_create(attrs.MAP_TYPE_RINGBUF, 0, 0, 4096, name="lg_probe").close()
    except bpf.BpfError:
        return False
    return True


ALL: dict[str, Feature] = {
    f.name: f
    for f in (
        Feature("xdp-link", "XDP links", "5.9", _xdp_link),
        Feature("xdp-frags", "XDP programs for frames of several buffers", "5.18", _xdp_frags),
        Feature("tcx-link", "TCX links", "6.6", lambda: _link(3, 0, 46)),
        Feature("cgroup-sock-addr", "links at a cgroup's socket addresses", "5.7", lambda: _link(18, 10, 10)),
        Feature("cgroup-getpeername", "programs at getpeername", "5.8", lambda: _link(18, 29, 29)),
        Feature("cgroup-sockops", "links at a cgroup's TCP sockets", "5.7", lambda: _link(13, 3, 3)),
        Feature("cgroup-getsockopt", "links at getsockopt of a cgroup", "5.7", lambda: _link(25, 21, 21)),
        Feature("sk-storage", "maps that keep something for each socket", "5.2", _sk_storage),
        Feature("ringbuf", "BPF ring buffers", "5.8", _ring),
    )
}

HOOK_FEATURE = {"xdp": "xdp-link", "tcx": "tcx-link", "cgroup": "cgroup-sock-addr"}


@cache
def present(name: str) -> bool:
    """Whether the running kernel has a feature of the table; asked once a process."""
    return ALL[name].probe()


def running_kernel() -> str:
    """Release of the running kernel."""
    return platform.release()
