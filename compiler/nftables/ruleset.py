"""The table of a policy: counters, sets, limits, and for each rule list a chain for each class of packets.

The file is one transaction: it makes the table if there is none, takes it away, and makes it anew. Knows all
parts of this package and puts them together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from lockgate.stdlib_bpf import nft

from ..match.ir import MatchProgram
from ..match.residents import Resident
from . import classes, decode
from .classes import PacketClass
from .endpoints import Table
from .lists import RuleList, chain
from .matches import live_set
from .rules import declarations

# Hook and direction → nft's hook and priority. What XDP drops, tc must not see.
HOOKS = {("xdp", ""): ("ingress", -200), ("tc", "ingress"): ("ingress", 0), ("tc", "egress"): ("egress", 0)}


@dataclass(frozen=True)
class Placed:
    """A rule list and the devices that it is for, without namespaces."""

    program: MatchProgram
    devices: tuple[str, ...]


@dataclass
class Sets:
    """Named sets of fixed contents, each once: (type, elements) → name."""

    names: dict[tuple[str, str], str] = field(default_factory=dict)

    def name(self, kind: str, elements: str) -> str:
        """The set that holds these."""
        return self.names.setdefault((kind, elements), f"set-{len(self.names) + 1}")

    def lines(self) -> Iterator[str]:
        """Their declarations."""
        for (kind, elements), name in self.names.items():
            yield f"set {name} {{ type {kind}; flags constant, interval; elements = {{ {elements} }} }}"


def write(
    name: str,
    compiler: str,
    netns: str,
    lists: Sequence[Placed],
    endpoints: tuple[MatchProgram, Sequence[Resident]] | None = None,
) -> str:
    """The file. `name`: of the policy; `netns`: where its devices are, "" for where it is loaded;
    `endpoints`: the list for endpoints, with all that there are."""
    head = [f"{nft.HEAD}name {name}"]
    head += [f"{nft.HEAD}netns {netns}"] if netns else []
    out = [
        *head,
        f"# Written by lockgate {compiler}. `nft -f` loads it, or replaces it, at one instant.",
    ]
    out += [
        "# IP protocol (or length of the IP header) . length of the next header, in words . bytes too few"
    ]
    out += decode.tables()
    for family in nft.FAMILIES:
        table = f"{family} {nft.PREFIX}{name}"
        out += [f"table {table}", f"delete table {table}"]
    if lists:
        out += _table(nft.INTERFACES, name, *_interfaces(lists))
    if endpoints is not None:
        out += _table(nft.ENDPOINTS, name, *_endpoints(*endpoints))
    return "\n".join(out) + "\n"


def _table(family: str, name: str, *parts: Iterable[str]) -> Iterator[str]:
    yield f"table {family} {nft.PREFIX}{name} {{"
    yield from (f"  {line}" if line else "" for part in parts for line in part)
    yield "}"


def _interfaces(lists: Sequence[Placed]) -> Iterator[Iterable[str]]:
    sets = Sets()
    chains = [line for placed in lists for line in _Listed(placed, sets).chains()]
    yield (line for placed in lists for line in _declarations(placed.program))
    yield from (_live(placed.program for placed in lists), sets.lines(), chains)


def _endpoints(program: MatchProgram, known: Sequence[Resident]) -> Iterator[Iterable[str]]:
    sets = Sets()
    table = Table(program, known, sets.name)
    chains = [*table.chains()]
    yield from (table.declarations(), _live([program]), sets.lines(), chains)


def _declarations(program: MatchProgram) -> Iterator[str]:
    own = {"default": ("default", program.default), "malformed": ("malformed", "drop")}
    own["unread"] = ("unread", "drop")
    if program.fragments == "drop":
        own["fragments"] = ("fragments", "drop")
    yield from declarations(program, own)


def _live(programs: Iterable[MatchProgram]) -> Iterator[str]:
    for name, entries in sorted({live for program in programs for live in program.live}):
        for family, kind in (("4", "ipv4_addr"), ("6", "ipv6_addr")):
            size = 2 * entries  # the ends of a range are two elements
            yield f"set {live_set(name, family)} {{ type {kind}; flags interval, timeout; size {size}; }}"


class _Listed:
    """The chains of one rule list at an interface."""

    def __init__(self, placed: Placed, sets: Sets) -> None:
        self.placed, self.program = placed, placed.program
        self.rules = RuleList(self.program, self.program.name, sets.name)
        self.asked = decode.asked(self.program)

    def chains(self) -> Iterator[str]:
        """All of them, what is gone to before where it is gone from."""
        name, asked = self.program.name, self.asked
        for packets in self._classes():
            yield from self.rules.of(packets)
        for part, lines in (
            ("whole6", decode.whole6(name)),
            ("read6", decode.read6(name, asked)),
            ("read4", decode.read4(name, asked)),
        ):
            yield from chain(f"{name}.{part}", lines)
        hook, priority = HOOKS[self.program.hook, self.program.direction]
        devices = ", ".join(f'"{device}"' for device in self.placed.devices)
        head = f"type filter hook {hook} devices = {{ {devices} }} priority {priority}; policy accept;"
        yield from chain(name, [head, *decode.dispatch(name, asked)])

    def _classes(self) -> Iterator[PacketClass]:
        for packets in classes.ALL:
            later = packets.known.get("ip.fragment") == classes.LATER4.known["ip.fragment"]
            if later and self.asked.fragments == "drop":
                continue
            if packets is classes.ARP and not any(name.startswith("arp.") for name in self.asked.fields):
                continue
            yield packets
