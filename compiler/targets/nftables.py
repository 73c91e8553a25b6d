"""nftables: rule lists at interfaces, as a file for nft(8)."""

from __future__ import annotations

from lockgate import __version__
from lockgate.stdlib_bpf import nft
from lockgate.stdlib_bpf.inventory import Inventory

from .. import profile
from ..driver import Session
from ..match.residents import residents
from ..nftables import refusals, ruleset
from ..nftables.exceptions import EXCEPTIONS
from ..nftables.refusals import HOOK
from ..policy.targets import device_of, namespace_of
from .base import Target, no_services, report


def check(session: Session) -> None:
    """Report what nftables cannot say."""
    lists = [(chain, session.optimised(chain)) for chain in session.unit.chains]
    found = refusals.refused(lists, session.inventory())
    report(session, "nftables", (*no_services(session), *found))


def build(session: Session) -> bytes:
    """The file."""
    inventory, chains = session.inventory() or Inventory(), session.unit.chains
    lists = [
        ruleset.Placed(session.optimised(chain), tuple(map(device_of, chain.targets)))
        for chain in chains
        if chain.hook != HOOK
    ]
    endpoints = [
        (session.optimised(chain), residents(inventory, chain.selections))
        for chain in chains
        if chain.hook == HOOK
    ]
    netns = namespace_of(next(refusals.places(chains, inventory)))
    name = nft.safe(profile.name_of(session.unit))
    return ruleset.write(name, __version__, netns, lists, *endpoints).encode()


TARGET = Target(
    name="nftables",
    about="a table for Linux's nftables, in a file that people can read and `nft -f` loads",
    takes="the match IR",
    suffix=nft.SUFFIX,
    capabilities={
        "hooks": "xdp (at ingress), tc; endpoints, with an inventory",
        "actions": "all but `reject`; `redirect` and `mirror` out of a device",
        "conditions": "all but AH and mobility headers, `meta.iif` at egress",
        "dynamic sets": "yes, of nft's kind",
        "`limit`": "packets; per source, destination",
        "`count`": "yes",
        "`log`": "to the kernel's log",
        "`mark`, `dscp`": "yes",
        "`fragments`": "first-only, drop; at endpoints track",
        "malformed packets": "dropped first, with exceptions",
        "changes at one instant": "yes",
        "counters": "each rule",
        "tested": "in the kernel",
    },
    check=check,
    build=build,
    exceptions=tuple(EXCEPTIONS.values()),
)
