"""Which data plane is right for a rule list, and why: lockgate, or a packet filter that is here anyway.

A row is a reason: when it holds and what it says. One that is `decisive` speaks against eBPF alone. Knows
figures, never how they came about; docs/when-not.md says the same in prose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

FEW_RULES, FEW_ENTRIES = 10, 256
IDLE = 0.01  # share of one CPU that is not worth another tool
BUSY = 0.1  # share of one CPU that is
SKB_NS = 200  # what the kernel spends on a packet between XDP and the next filter
LOCKGATE, NFTABLES, NEWER = "lockgate", "nftables", "lockgate, on a newer kernel"


@dataclass(frozen=True)
class Facts:
    """Of one rule list. `entries`: of fixed sets; `live`: most entries of each dynamic set; `ours_ns` and
    `peers`: of a typical packet; `rate`: packets a second that are expected, None where nobody said; `kernel`
    and `needs`: (major, minor) that runs, None where that is not known, and that the hook needs; `filtering`:
    whether nftables has tables here, None where that is not known; `replies`: rules that know replies by
    ports and flags."""

    hook: str
    rules: int
    entries: int
    ours_ns: float
    live: tuple[int, ...] = ()
    peers: Mapping[str, float] = field(default_factory=dict)
    rate: float | None = None
    kernel: tuple[int, int] | None = None
    needs: tuple[int, int] = (0, 0)
    filtering: bool | None = None
    replies: tuple[str, ...] = ()
    drops: bool = True

    @property
    def peer(self) -> tuple[str, float] | None:
        """The cheapest of the others."""
        return min(self.peers.items(), key=lambda item: item[1], default=None)

    @property
    def saved_ns(self) -> float | None:
        """How much cheaper we are than the cheapest of the others."""
        return None if self.peer is None else self.peer[1] - self.ours_ns

    @property
    def small(self) -> bool:
        """Few rules over few entries."""
        return self.rules <= FEW_RULES and self.entries + sum(self.live) <= FEW_ENTRIES


@dataclass(frozen=True)
class Reason:
    """`speaks`: "for" or "against" eBPF."""

    speaks: str
    decisive: bool
    text: str


@dataclass(frozen=True)
class Advice:
    """`use`: the data plane; reasons, the decisive ones first."""

    use: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Row:
    """A reason that may hold; `text` makes its sentence."""

    speaks: str
    decisive: bool
    holds: Callable[[Facts], bool]
    text: Callable[[Facts], str]


def _version(pair: tuple[int, int]) -> str:
    return f"{pair[0]}.{pair[1]}"


def _peer(facts: Facts) -> str:
    return facts.peer[0] if facts.peer else "the other filters"


def _share(facts: Facts) -> float:
    """Of one CPU that is saved at the expected rate."""
    return (facts.saved_ns or 0.0) * (facts.rate or 0.0) / 1e9


def _ratio(facts: Facts) -> float:
    return facts.peer[1] / max(1.0, facts.ours_ns) if facts.peer else 0.0


ROWS: tuple[Row, ...] = (
    Row(
        "against",
        True,
        lambda f: f.kernel is not None and f.kernel < f.needs,
        lambda f: (
            f"this kernel is {_version(f.kernel or (0, 0))}, and `at {f.hook}` needs {_version(f.needs)}: "
            "do not use eBPF for this here"
        ),
    ),
    Row(
        "against",
        True,
        lambda f: f.rate is not None and f.saved_ns is not None and _share(f) < IDLE,
        lambda f: (
            f"at {f.rate:,.0f} packets a second it would save {max(0.0, 100 * _share(f)):.2g} % of one CPU "
            f"over {_peer(f)}: do not use eBPF for this"
        ),
    ),
    Row(
        "against",
        True,
        lambda f: f.hook != "connect" and f.small and bool(f.filtering) and _share(f) < BUSY,
        lambda f: (
            f"{f.rules} rules over {f.entries + sum(f.live):,} entries are little, and nftables runs here "
            "already: one place to look is worth more than nanoseconds; do not use eBPF for this"
        ),
    ),
    Row(
        "against",
        False,
        lambda f: bool(f.replies),
        lambda f: (
            f"{', '.join(f'`{name}`' for name in f.replies[:3])} let in what looks like a reply: rules here "
            "do not know connections, `ct state established` of nftables does"
        ),
    ),
    Row(
        "against",
        False,
        lambda f: bool(f.live) and f.entries == 0 and sum(f.live) <= FEW_ENTRIES and f.rules <= FEW_RULES,
        lambda f: "its only lists are small and change while it runs: sets of nftables do that as well",
    ),
    Row(
        "against",
        True,
        lambda f: f.saved_ns is not None and f.saved_ns <= 0 and f.hook != "xdp",
        lambda f: f"a typical packet costs no more in {_peer(f)}: do not use eBPF for this",
    ),
    Row(
        "against",
        False,
        lambda f: f.saved_ns is not None and f.saved_ns <= 0 and f.hook == "xdp",
        lambda f: f"a typical packet costs no more in {_peer(f)}",
    ),
    Row(
        "for",
        False,
        lambda f: f.saved_ns is not None and f.saved_ns > 0,
        lambda f: (
            f"a typical packet costs {_ratio(f):.1f} times less than in {_peer(f)}; below "
            f"{IDLE * 1e9 / (f.saved_ns or 1):,.0f} packets a second that is less than 1 % of one CPU"
        ),
    ),
    Row(
        "for",
        False,
        lambda f: f.hook == "xdp" and f.drops,
        lambda f: f"what it drops is dropped before the kernel makes a packet of it: {SKB_NS} ns more each",
    ),
    Row(
        "for",
        False,
        lambda f: f.entries > 10_000,
        lambda f: f"{f.entries:,} entries of fixed sets lie in tables of a few bytes each",
    ),
    Row(
        "for",
        False,
        lambda f: f.hook == "connect",
        lambda f: "calls are refused with their errno before a packet is sent; packet filters cannot do that",
    ),
)


def advise(facts: Facts) -> Advice:
    """What to use for a rule list of these facts."""
    reasons: Sequence[Reason] = [Reason(r.speaks, r.decisive, r.text(facts)) for r in ROWS if r.holds(facts)]
    against = any(reason.decisive for reason in reasons)
    old = facts.kernel is not None and facts.kernel < facts.needs
    instead = NEWER if old and facts.hook == "connect" else NFTABLES
    use = instead if against else LOCKGATE
    return Advice(use, tuple(sorted(reasons, key=lambda reason: not reason.decisive)))
