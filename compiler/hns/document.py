"""The file: for each endpoint the request that gives it its access lists, for each service that of its load
balancers.

`schema.json` says its form, with its source. A direction that a policy leaves alone is allowed by an entry of
its own, since an endpoint with any entry is closed. Knows the form; must never know how entries come about.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..match.ir import MatchProgram
from ..policy.model import Balancer
from . import acl, balance


def write(
    name: str,
    compiler: str,
    lists: Sequence[tuple[Sequence[str], MatchProgram]],
    balancers: tuple[Balancer, ...] = (),
) -> str:
    """The document. `lists`: rule lists, each with the names of its endpoints; `name`: of the policy."""
    endpoints: dict[str, dict[str, list[acl.Listed]]] = {}
    for names, program in lists:
        for endpoint in names:
            endpoints.setdefault(endpoint, {})[program.direction] = list(acl.entries(program))
    return (
        json.dumps(
            {
                "Policy": name,
                "Compiler": f"lockgate {compiler}",
                "Endpoints": [_endpoint(name, lists) for name, lists in sorted(endpoints.items())],
                "LoadBalancers": [*balance.documents(balancers)],
            },
            indent=1,
        )
        + "\n"
    )


def _endpoint(name: str, lists: dict[str, list[acl.Listed]]) -> dict[str, object]:
    listed = [
        one
        for direction in acl.DIRECTIONS
        for one in lists.get(direction) or [acl.default(direction, acl.ALLOW)]
    ]
    return {
        "Name": name,
        "Rules": [one.label for one in listed],
        "Request": {"Policies": [{"Type": "ACL", "Settings": one.entry} for one in listed]},
    }
