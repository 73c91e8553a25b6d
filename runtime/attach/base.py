"""What attaching needs of a hook: to find the place, and to make a link there. Every link is a bpf_link, so
replacing a program is the same call everywhere (`swap`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..plan import HookPoint
from ..sys.fd import Fd


@dataclass(frozen=True)
class Place:
    """A hook point found on this machine. `target`: ifindex or cgroup id; `scope`: inode of the network
    namespace that the ifindex belongs to (0 for cgroups)."""

    target: int
    scope: int


@dataclass(frozen=True)
class Attacher:
    """`resolve` finds the place or raises; `attach` makes a link there and says in which mode. `mode` is the
    XDP mode wanted; the other hooks have none. `nothing`: the verdict after which things go on as if no
    program were there."""

    resolve: Callable[[HookPoint], Place]
    attach: Callable[[HookPoint, Fd, str], tuple[Fd, str]]
    nothing: int
