"""How a rejection answers, by the word behind `with`; "" where the rule has none.

At tc a packet is answered by a packet: TCP by a reset (RFC 9293 §3.10.7.1), anything else by "destination
unreachable" (RFC 792, RFC 1812 §5.2.7.1, RFC 4443 §3.1). At connect a call is answered by its errno.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

UNREACHABLE4, UNREACHABLE6 = 3, 1  # types of ICMP and ICMPv6


@dataclass(frozen=True)
class Answer:
    """`reset`: TCP is answered by a reset, else like anything else; `codes`: of ICMP and ICMPv6, None for
    silence."""

    reset: bool
    codes: tuple[int, int] | None


PACKETS: dict[str, Answer] = {
    "": Answer(True, (3, 4)),
    "refused": Answer(True, (3, 4)),
    "reset": Answer(True, None),
    "port": Answer(False, (3, 4)),
    "host": Answer(False, (1, 3)),
    "network": Answer(False, (0, 0)),
    "prohibited": Answer(False, (13, 1)),
}
ERRNOS: dict[str, int] = {
    "": errno.EPERM,
    "refused": errno.ECONNREFUSED,
    "host": errno.EHOSTUNREACH,
    "network": errno.ENETUNREACH,
    "prohibited": errno.EACCES,
}
