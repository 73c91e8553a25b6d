"""What becomes of a call: the reference of a balancer, for a client that it has not seen before.

Knows services as they are declared; must never know maps. Which of the possible backends a client gets is
`choice`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .services import LOCAL_FIRST, PROTOCOLS, REJECT, Backend, Service

ALLOW = "allow"


@dataclass(frozen=True)
class Answer:
    """`verdict`: "allow" or "reject"; `backends`: whom the call may go to, none where it goes on as it is or
    nowhere; `service`: whose address was called, None for nobody's."""

    verdict: str
    backends: tuple[Backend, ...] = ()
    service: Service | None = None


def answer(
    services: Sequence[Service],
    protocol: int,
    address: str,
    port: int,
    places: Collection[int] = (),
) -> Answer:
    """What a call gets. `address` as Python's `ipaddress` writes it; `places`: of the caller's cgroup, and of
    the selections that take it (`Service.exempt`)."""
    service = next((s for s in services if address in s.vips), None)
    if service is None or protocol not in PROTOCOLS.values() or not set(service.exempt).isdisjoint(places):
        return Answer(ALLOW, (), service)
    if not any((front.protocol, front.port) == (protocol, port) for front in service.fronts):
        return Answer(REJECT, (), service)
    family = ipaddress.ip_address(address).version
    taking = tuple(b for b in service.backends if b.family == family and b.taking)
    if service.spread == LOCAL_FIRST:
        taking = tuple(b for b in taking if b.local) or taking
    if taking:
        return Answer(ALLOW, taking, service)
    return Answer(REJECT if service.empty == REJECT else ALLOW, (), service)
