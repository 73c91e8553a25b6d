"""Interfaces and network namespaces by name. The only user of pyroute2, imported when first needed (0.3 s).

Knows names and numbers; changes nothing.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Any

from .errors import InterfaceMissing, LockgateError, NoPrivileges
from .refusal import missing_capabilities
from .sys import netns as namespaces


@dataclass(frozen=True)
class Interface:
    """An interface as the kernel numbers it; `netns_inode` tells namespaces apart."""

    name: str
    netns: str | None
    ifindex: int
    netns_inode: int


def netns_names() -> list[str]:
    """Named network namespaces, sorted."""
    from pyroute2 import netns

    return sorted(str(name) for name in netns.listnetns())


@dataclass(frozen=True)
class Link:
    """`pair`: the interface's other end is in another network namespace."""

    ifindex: int
    pair: bool


PAIRS = ("veth", "netkit")  # kinds of interfaces with another end, where BPF can put packets


def interfaces(netns: str | None = None) -> dict[str, int]:
    """Name → ifindex of every interface in a namespace (None: the caller's)."""
    return {name: link.ifindex for name, link in links(netns).items()}


def links(netns: str | None = None) -> dict[str, Link]:
    """Every interface of a namespace (None: the caller's), by name."""
    from pyroute2 import IPRoute

    try:
        with namespaces.inside(netns), IPRoute() as ip:
            return {str(link.get_attr("IFLA_IFNAME")): _link(link) for link in ip.get_links()}
    except namespaces.NetnsError as error:
        raise _namespace_failure(error, netns) from None


def _link(said: Any) -> Link:
    info = said.get_attr("IFLA_LINKINFO")
    kind = None if info is None else info.get_attr("IFLA_INFO_KIND")
    return Link(int(said["index"]), kind in PAIRS and said.get_attr("IFLA_LINK_NETNSID") is not None)


def interface(name: str, netns: str | None = None) -> Interface:
    """Look an interface up. InterfaceMissing (with the nearest name) or NoPrivileges."""
    existing = interfaces(netns)
    if name not in existing:
        raise InterfaceMissing(name, netns, existing)
    return Interface(name, netns, existing[name], namespaces.inode(netns))


def _namespace_failure(error: OSError, netns: str | None) -> LockgateError:
    if error.errno == errno.EPERM:
        return NoPrivileges(
            f"entering network namespace `{netns}`", (*missing_capabilities(), "CAP_SYS_ADMIN")
        )
    return InterfaceMissing.namespace(netns or "", netns_names())
