"""XDP: one program an interface, by a link (net/core/dev.c, bpf_xdp_link_attach; Linux ≥ 5.9).

Mode `native` runs in the driver, `generic` behind it on any device; `auto` tries native first.
"""

from __future__ import annotations

import errno

from .. import netlink
from ..errors import HookOccupied
from ..plan import HookPoint
from ..refusal import explain
from ..sys import attrs, bpf, netns
from ..sys.fd import Fd
from .base import Place

XDP_PASS = 2

_MODES = {
    "native": (("native", attrs.XDP_FLAGS_DRV_MODE),),
    "generic": (("generic", attrs.XDP_FLAGS_SKB_MODE),),
    "auto": (("native", attrs.XDP_FLAGS_DRV_MODE), ("generic", attrs.XDP_FLAGS_SKB_MODE)),
}
# not the driver's fault: trying the other mode would only blur the message
_FINAL = (errno.EPERM, errno.ENODEV)


def resolve(point: HookPoint) -> Place:
    """The interface. InterfaceMissing when there is none."""
    found = netlink.interface(point.target, point.netns)
    return Place(found.ifindex, found.netns_inode)


def attach(point: HookPoint, program: Fd, mode: str) -> tuple[Fd, str]:
    """A link, and the mode it has. HookOccupied when another program is there; what the driver says in
    native mode is kept in the notes when generic mode fails too."""
    refused: list[str] = []
    place = resolve(point)
    attempts = _MODES[mode]
    for i, (name, flags) in enumerate(attempts):
        try:
            with netns.inside(point.netns):
                return bpf.link_create(program, place.target, point.attach_type, flags, point.place), name
        except bpf.BpfError as error:
            if error.errno in (errno.EBUSY, errno.EEXIST):
                raise HookOccupied(point.place) from error
            last = i == len(attempts) - 1
            if last or error.errno in _FINAL:
                doing = f"attaching XDP in {name} mode to `{point.place}`"
                raise explain(error, doing, "xdp-link").with_notes(*refused) from error
            refused.append(f"{name} mode was refused: {error.name}")
    raise AssertionError("a mode has at least one attempt")
