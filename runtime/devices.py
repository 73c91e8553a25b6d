"""Which interfaces the devices of a plan are on this machine.

Looks names up; changes nothing. A chain's devices lie in the network namespace of its targets.
"""

from __future__ import annotations

from . import netlink
from .errors import InterfaceMissing
from .plan import LoadPlan

Numbers = dict[str, tuple[int, ...]]  # chain → ifindexes, in the order of its devices


def numbers(plan: LoadPlan) -> Numbers:
    """The ifindex of every device. InterfaceMissing for one that is not there."""
    found: Numbers = {}
    for chain in plan.devices:
        existing = netlink.interfaces(chain.netns)
        for name in chain.names:
            if name not in existing:
                raise InterfaceMissing(name, chain.netns, existing)
        found[chain.chain] = tuple(existing[name] for name in chain.names)
    return found
