"""What a rule does to a packet besides its verdict.

Plain data, the same in a policy and in both IRs. Effects never change what later rules see: conditions are
about the packet as it arrived. Marks are set in the order of the rules, each on what the one before left; of
several rules that rewrite the DSCP, the last one counts. What comes of them is `outcome`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Proxy:
    """A local proxy: it listens on loopback at `port`, of both families; its processes are in `cgroup`, a
    path below the cgroup2 root."""

    name: str
    port: int
    cgroup: str


@dataclass(frozen=True)
class Effects:
    """`mark`: (value, mask) of the packet's mark, bits outside the mask stay; `dscp`: new DSCP; `into`:
    devices that get the packet (redirect) or a copy (mirror); `how`: in which way, or how a rejection
    answers; "" where there is no choice; `via`: the proxy that gets a socket's call."""

    mark: tuple[int, int] | None = None
    dscp: int | None = None
    into: tuple[str, ...] = ()
    how: str = ""
    via: Proxy | None = None


NONE = Effects()
