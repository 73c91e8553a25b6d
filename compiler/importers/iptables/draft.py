"""One rule while its options are read: what its matches ask so far, in fields.

Knows fields and how to refuse; must never know the options' names (`matches.py`, `targets.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lockgate.stdlib_bpf.sets import IntervalSet

from ..model import Action, Box, Limit, full, meet
from ..refusals import NotSayableError


@dataclass(frozen=True)
class Place:
    """Where the rules of a chain will run. `family`: 4 or 6; `device`: the one that packets of the policy's
    direction pass; `side`: the option, `-i` or `-o`, that names it; `other`: the option for the interface
    that a forwarded packet came in by, "" where there is none; `whole`: fragments are judged as the datagram
    that they belong to; `mark`: whether the packet's mark is what the chain would see; `local`: this host's
    addresses, None where nobody said them; `device_number` gives names their number in `meta.iif`; `sets`:
    address sets by name; `flows`: the policy knows flows; `sane`: what begins none is dropped before."""

    family: int
    device: str
    side: str
    other: str
    whole: bool
    mark: bool
    local: IntervalSet | None
    device_number: Callable[[str], int]
    sets: Mapping[str, object]
    flows: bool = False
    sane: bool = False

    @property
    def style(self) -> str:
        """Style of the family's addresses."""
        return f"ip{self.family}"

    def address(self, side: str) -> str:
        """Name of an address field; `side`: "src" or "dst"."""
        return f"ip{self.family}.{side}"


@dataclass
class Draft:
    """`boxes`: disjoint alternatives, [] when nothing matches; `limit` is asked where it stands, so nothing
    may be asked behind it; `transport`: a match asked for the transport header as such."""

    place: Place
    boxes: list[Box] = field(default_factory=lambda: [{}])
    limit: Limit | None = None
    comment: str = ""
    module: str = ""
    transport: bool = False
    target: str = ""
    goto: bool = False
    log: bool = False
    action: Action | None = None
    states: frozenset[str] = frozenset()

    def ask(self, name: str, values: IntervalSet, negated: bool = False) -> None:
        """One more condition."""
        if negated:
            values = values.complement(full(name).ranges[0][1].bit_length())
        self.alternatives([{name: values}] if values else [])

    def alternatives(self, boxes: list[Box]) -> None:
        """One of some disjoint boxes must hold, too."""
        if self.limit is not None:
            raise NotSayableError(
                "limit",
                "conditions behind it would be asked first, and then it counts other packets",
                "put `-m limit` last",
            )
        self.boxes = [both for a in self.boxes for b in boxes if (both := meet(a, b)) is not None]

    def never(self) -> None:
        """The rule matches no packet here."""
        self.boxes = []

    @property
    def protocols(self) -> IntervalSet | None:
        """What `-p` asked for."""
        return self.boxes[0].get("ip.proto") if self.boxes else None
