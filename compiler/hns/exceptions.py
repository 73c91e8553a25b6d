"""Where a policy at HNS judges otherwise than the language says: the list, for the docs and for the law."""

from __future__ import annotations

from ..otherwise import Row

EXCEPTIONS = {
    "state": Row(
        "replies of a connection that an entry allowed",
        "pass: the switch (rule type `Switch`) follows flows, so entries judge what opens one",
    ),
    "not ip": Row("ARP, neighbour discovery and what else is not IP", "is not judged by access lists"),
    "malformed": Row(
        "malformed packets and later fragments", "are Windows' affair: documents do not speak of them"
    ),
}
