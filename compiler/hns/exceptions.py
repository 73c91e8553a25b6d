"""Where a policy at HNS judges otherwise than the language says: the list, for the docs and for the law."""

from __future__ import annotations

from ..otherwise import Row

EXCEPTIONS = {
    "state": Row(
        "replies of a connection that an entry allowed",
        "pass: the switch (rule type `Switch`) follows flows, so entries judge what opens one",
    ),
    "sources": Row(
        "what a workload sends from an address that is not its own, or says to itself",
        "is judged by its entries: whether forged sources pass at all is Windows' affair",
    ),
    "services": Row(
        "calls of a service",
        "are spread by Windows, by connection, with `affinity` by the client's address for as long as the "
        "backends are the same, whatever time is said. A call of a port that the service does not declare "
        "finds nobody",
    ),
    "not ip": Row("ARP, neighbour discovery and what else is not IP", "is not judged by access lists"),
    "malformed": Row(
        "malformed packets and later fragments", "are Windows' affair: documents do not speak of them"
    ),
}
