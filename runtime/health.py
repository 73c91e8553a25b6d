"""Whether backends answer: asked again and again, and told to the programs when that changes.

A check is a TCP connection to where clients of the service would be sent, or an HTTP request there. A backend
that fails several times in a row takes no calls until it has answered several times. Knows backends as
`backends` lists them; must never know a map. Runs in the foreground, for whoever supervises it; when it
ends, what it found stays.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from lockgate.stdlib_bpf.balance.services import PROTOCOLS, Backend, Service

from .backends import Place

AT_ONCE = 64  # checks: one that gets no answer keeps none of the others waiting for long
GOOD = range(200, 400)  # HTTP status codes


@dataclass(frozen=True)
class Check:
    """How a backend is asked. `path`: of an HTTP request, None for a connection alone; `port`: 0 for the one
    where clients are sent; `timeout_s` for an answer; `rise` and `fall`: answers, or failures, in a row that
    change what is thought of it."""

    path: str | None = None
    port: int = 0
    timeout_s: float = 1.0
    rise: int = 2
    fall: int = 3


@dataclass
class Health:
    """What is known of backends. `told`: what the programs know, which a replaced policy has forgotten."""

    check: Check
    _runs: dict[Place, tuple[bool, int]] = field(default_factory=dict)  # last answer, and how many alike

    def heard(self, answers: Mapping[Place, bool], told: Mapping[Place, bool]) -> dict[Place, bool]:
        """The backends that fail from now on (True), or do so no more. `answers`: of one round; `told`:
        whether programs take a backend for one that fails."""
        changed = {}
        for place, good in answers.items():
            before, count = self._runs.get(place, (good, 0))
            count = count + 1 if before is good else 1
            self._runs[place] = good, count
            if count >= (self.check.rise if good else self.check.fall) and told[place] is good:
                changed[place] = not good
        self._runs = {place: run for place, run in self._runs.items() if place in answers}
        return changed


def port_of(check: Check, service: Service, backend: Backend) -> int | None:
    """Where a backend is asked; None where the service has no TCP port, and no other was given."""
    if check.port:
        return check.port
    tcp = [front for front in service.fronts if front.protocol == PROTOCOLS["tcp"]]
    return (backend.port or tcp[0].target) if tcp else None


def asked(check: Check, targets: Iterable[tuple[Place, int]]) -> dict[Place, bool]:
    """Whether each answers. `targets`: places, each with a port."""
    listed = list(targets)
    one: Callable[[tuple[Place, int]], bool] = partial(_answers, check)
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        return dict(zip((place for place, _ in listed), pool.map(one, listed), strict=True))


def _answers(check: Check, target: tuple[Place, int]) -> bool:
    place, port = target
    try:
        if check.path is None:
            socket.create_connection((place.backend.address, port), check.timeout_s).close()
            return True
        connection = http.client.HTTPConnection(place.backend.address, port, timeout=check.timeout_s)
        try:
            connection.request("GET", check.path, headers={"Connection": "close"})
            return connection.getresponse().status in GOOD
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return False
