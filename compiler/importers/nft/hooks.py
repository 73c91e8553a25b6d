"""Where base chains go, one row a hook; and the families of tables. Source: nft(8), ADDRESS FAMILIES, HOOKS.

The rows for input, forward and output are those of `iptables/hooks.py`, for the same places of the stack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lockgate.stdlib_bpf import fields

from ..model import Box


@dataclass(frozen=True)
class Hook:
    """`side`: the meta key that names the policy's device; `other`: the one for where a packet came in;
    `fragments`, `whole`, `forwarded`: as in `iptables/hooks.py`; `mark`: the same mark here and there."""

    direction: str
    side: str
    other: str
    fragments: str
    forwarded: bool | None
    mark: bool

    @property
    def whole(self) -> bool:
        """Whether packets are whole datagrams there."""
        return self.fragments == "track"


HOOKS: Mapping[str, Hook] = {
    "ingress": Hook("ingress", "iif", "", "first-only", None, True),
    "prerouting": Hook("ingress", "iif", "", "first-only", None, False),
    "input": Hook("ingress", "iif", "", "track", None, False),
    "forward": Hook("egress", "oif", "iif", "first-only", True, True),
    "output": Hook("egress", "oif", "", "track", False, True),
    "postrouting": Hook("egress", "oif", "iif", "first-only", None, True),
    "egress": Hook("egress", "oif", "iif", "first-only", None, True),
}
# What every packet is that a chain of a family sees; families that are not here judge something else.
FAMILIES: Mapping[str, Box] = {
    "ip": {"eth.type": fields.IP4},
    "ip6": {"eth.type": fields.IP6},
    "inet": {"eth.type": fields.IP},
    "netdev": {},
}
NUMBERS = {"ip": 4, "ip6": 6}
