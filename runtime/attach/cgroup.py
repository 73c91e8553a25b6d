"""connect and sendmsg of a cgroup's sockets, by links (kernel/bpf/cgroup.c; Linux ≥ 5.7). Links always allow
programs of others beside them (BPF_F_ALLOW_MULTI); a call passes when every program allows it."""

from __future__ import annotations

from .. import cgroups
from ..plan import HookPoint
from ..refusal import explain
from ..sys import bpf
from ..sys.fd import Fd
from .base import Place

ALLOW = 1


def resolve(point: HookPoint) -> Place:
    """The cgroup. CgroupMissing when there is none."""
    return Place(cgroups.cgroup_id(point.target), 0)


def attach(point: HookPoint, program: Fd, mode: str) -> tuple[Fd, str]:
    """A link behind those that are there."""
    with cgroups.open_cgroup(point.target) as directory:
        try:
            return bpf.link_create(program, directory.number, point.attach_type, 0, point.place), ""
        except bpf.BpfError as error:
            doing = f"attaching to {point.name} of cgroup `{point.place}`"
            raise explain(error, doing, "cgroup-sock-addr") from error
