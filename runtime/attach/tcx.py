"""tc by TCX links (kernel/bpf/tcx.c; Linux ≥ 6.6): several programs at a hook, in the order they came. Needs
no qdisc and does not disturb filters of tc(8)."""

from __future__ import annotations

from .. import netlink
from ..plan import HookPoint
from ..refusal import explain
from ..sys import bpf, netns
from ..sys.fd import Fd
from .base import Place

TCX_NEXT = -1


def resolve(point: HookPoint) -> Place:
    """The interface. InterfaceMissing when there is none."""
    found = netlink.interface(point.target, point.netns)
    return Place(found.ifindex, found.netns_inode)


def attach(point: HookPoint, program: Fd, mode: str) -> tuple[Fd, str]:
    """A link at the end of the hook's list."""
    place = resolve(point)
    try:
        with netns.inside(point.netns):
            return bpf.link_create(program, place.target, point.attach_type, 0, point.place), ""
    except bpf.BpfError as error:
        raise explain(error, f"attaching to {point.name} of `{point.place}`", "tcx-link") from error
