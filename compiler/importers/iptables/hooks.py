"""Where the built-in chains of the table `filter` go: one row each.

INPUT sees what arrives for this host, put together from its fragments; tc at `ingress` sees it before that.
OUTPUT and FORWARD see packets on their way to an interface, and so does tc at `egress`, where a forwarded
packet knows the interface that it came in by and a local one has none. Source: net/ipv4/ip_input.c,
ip_output.c, ip_forward.c; net/core/dev.c.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hook:
    """`side`: the option that names the policy's device; `other`: the one for the interface that a packet
    came in by; `fragments`: the mode that is what the chain sees; `whole`: it sees datagrams; `mark`: a
    packet has the same mark here and there; `forwarded`: None where only the direction tells whose packets
    these are, else whether they are those that came in elsewhere."""

    chain: str
    direction: str
    side: str
    other: str
    fragments: str
    whole: bool
    mark: bool
    forwarded: bool | None
    why: str


HOOKS = (
    Hook("INPUT", "ingress", "-i", "", "track", True, False, None, "INPUT sees whole datagrams"),
    Hook(
        "FORWARD", "egress", "-o", "-i", "first-only", False, True, True, "FORWARD sees fragments as they are"
    ),
    Hook("OUTPUT", "egress", "-o", "", "track", True, True, False, "OUTPUT sees whole datagrams"),
)
BY_CHAIN = {hook.chain: hook for hook in HOOKS}
