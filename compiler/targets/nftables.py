"""nftables: rule lists at interfaces, as a file for nft(8)."""

from __future__ import annotations

from lockgate import __version__
from lockgate.stdlib_bpf import nft

from .. import profile
from ..driver import Session
from ..nftables import refusals, ruleset
from ..nftables.exceptions import EXCEPTIONS
from ..policy.targets import namespace_of
from .base import Target, report


def check(session: Session) -> None:
    """Report what nftables cannot say."""
    lists = [(chain, session.optimised(chain)) for chain in session.unit.chains]
    report(session, "nftables", refusals.refused(lists))


def build(session: Session) -> bytes:
    """The file."""
    lists = [
        ruleset.Placed(session.optimised(chain), tuple(t.rpartition("/")[2] for t in chain.targets))
        for chain in session.unit.chains
    ]
    netns = namespace_of(session.unit.chains[0].targets[0])
    return ruleset.write(nft.safe(profile.name_of(session.unit)), __version__, netns, lists).encode()


TARGET = Target(
    name="nftables",
    about="a table for Linux's nftables, in a file that people can read and `nft -f` loads",
    takes="the match IR",
    suffix=nft.SUFFIX,
    capabilities={
        "hooks": "xdp (at ingress), tc",
        "actions": "all but `reject`; `redirect` and `mirror` out of a device",
        "conditions": "all but AH and mobility headers, `meta.iif` at egress",
        "dynamic sets": "yes, of nft's kind",
        "`limit`": "packets; per source, destination",
        "`count`": "yes",
        "`log`": "to the kernel's log",
        "`mark`, `dscp`": "yes",
        "`fragments`": "first-only, drop",
        "malformed packets": "dropped first, with exceptions",
        "changes at one instant": "yes",
        "counters": "each rule",
        "tested": "in the kernel",
    },
    check=check,
    build=build,
    exceptions=tuple(EXCEPTIONS.values()),
)
