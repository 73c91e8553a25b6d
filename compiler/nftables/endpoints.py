"""Policies for endpoints as a table of its own, where the kernel routes packets and knows their connections.

Everyone on this host is judged at its interface: what a workload sends by `iifname`, what it receives by
`oifname`, the host itself at input and output. Whoever the same selections take share their chains, which a
verdict map chooses; a packet that one end allows returns, and the other end is asked. The kernel's
connection tracking stands for the table of flows, and has put fragments together. Order, as everywhere
(`stateful`): neighbour discovery, malformed packets, foreign sources, known flows, rules. Knows lists for one
endpoint; what a rule asks is `lists`'s affair.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.decode.frame import WHOLE
from lockgate.stdlib_bpf.labels import HOST, WORKLOAD
from lockgate.stdlib_bpf.sets import IntervalSet

from ..match.ir import MatchProgram
from ..match.residents import Lists, Resident, addresses
from ..policy.targets import device_of
from . import decode
from .classes import WHOLE4, WHOLE6, PacketClass
from .lists import RuleList, chain
from .rules import declarations
from .words import NameSet, value_text

VERDICTS = {"allow": "return", "drop": "drop"}
# What holds of packets that begin no flow, by class.
MIDST = "tcp flags & (fin|syn|rst|ack) != syn"
GOING = {WHOLE4.name: (MIDST, "icmp type echo-reply"), WHOLE6.name: (MIDST, "icmpv6 type echo-reply")}
NEIGHBOURS = "icmpv6 type { 133, 134, 135, 136 } ip6 hoplimit 255 accept"
ERRORS = ("icmp type { 3, 11, 12 }", "icmpv6 type { 1, 2, 3, 4 }")
UNFORWARDED = {"4": ("0.0.0.0", "169.254.0.0/16"), "6": ("::", "fe80::/10")}
GROUPS = {"4": "224.0.0.0-255.255.255.255", "6": "ff00::/8"}
WORDS = {"4": ("ip", "ipv4_addr"), "6": ("ip6", "ipv6_addr")}
# Counters besides those of rules: kind → (label, verdict)
OWN_COUNTERS = {
    "default": ("default", "allow"),
    "malformed": ("malformed", "drop"),
    "unread": ("unread", "drop"),
    "foreign": ("foreign source", "drop"),
    "flow": ("known flow", "allow"),
}


def _class(packets: PacketClass, opens: int) -> PacketClass:
    """Packets that are whole, of which it is known whether they begin a flow."""
    known = {**packets.known, "ip.fragment": IntervalSet.of(WHOLE), "flow.opens": IntervalSet.of(opens)}
    return replace(packets, name=packets.name + ("" if opens else "-on"), known=known)


@dataclass
class _Here:
    """Who is judged: workloads of this host, and the host itself."""

    workloads: list[Resident]
    host: Resident | None

    @property
    def interfaces(self) -> list[str]:
        """Where the host is judged."""
        own = self.host.entry.interfaces if self.host is not None else ()
        return [device_of(name) for name in (*own, *self.ports)]

    @property
    def ports(self) -> list[str]:
        """Interfaces of workloads."""
        return [device_of(name) for one in self.workloads for name in one.entry.interfaces]


class Table:
    """The table. `program`: the list for everybody; `known`: all endpoints."""

    def __init__(self, program: MatchProgram, known: Sequence[Resident], name_set: NameSet) -> None:
        self.program, self.name, self.name_set = program, program.name, name_set
        self.lists, self.asked = Lists(program, known), decode.asked(program)
        local = [one for one in known if one.entry.interfaces]
        workloads = [one for one in local if one.entry.kind == WORKLOAD]
        self.here = _Here(workloads, next((one for one in local if one.entry.kind == HOST), None))

    def declarations(self) -> Iterator[str]:
        """Counters, what limits keep, and who is here."""
        yield from declarations(self.program, OWN_COUNTERS)
        yield self._set("workloads", "ifname", map(_quoted, self.here.ports))
        yield self._set("judged", "ifname", map(_quoted, self.here.interfaces))
        for family in WORDS:
            yield from self._who(family)

    def _who(self, family: str) -> Iterator[str]:
        """Sets of addresses of a family."""
        kind = WORDS[family][1]
        own = [
            f"{_quoted(device_of(one.entry.interfaces[0]))} . {address}"
            for one in self.here.workloads
            for address in _listed([one], family)
        ]
        host = _listed([self.here.host] if self.here.host is not None else [], family)
        yield self._set(f"own-{family}", f"ifname . {kind}", own)
        yield self._set(f"local-{family}", kind, _listed(self.here.workloads, family))
        yield self._set(f"host-{family}", kind, host)
        yield self._set(
            f"hosts-{family}",
            kind,
            (*host, *UNFORWARDED[family], GROUPS[family]),
            "flags interval; auto-merge; ",
        )

    def _set(self, name: str, kind: str, elements: Iterable[str], more: str = "") -> str:
        held = ", ".join(elements)
        return (
            f"set {self.name}/{name} {{ type {kind}; {more}{f'elements = {{ {held} }}; ' if held else ''}}}"
        )

    def chains(self) -> Iterator[str]:
        """All of them, what is gone to before where it is gone from."""
        maps = {direction: dict[str, str]() for direction in fields.DIRECTIONS}
        hosts: dict[str, str] = {}
        for direction in fields.DIRECTIONS:
            groups: dict[frozenset[int], str] = {}
            for one in (*self.here.workloads, *((self.here.host,) if self.here.host is not None else ())):
                alike = one.selected & self.lists.subjects
                if alike not in groups:
                    program = self.lists.of(alike, direction)
                    groups[alike] = f"{self.name}.{direction}-{len(groups) + 1}" if program.matches else ""
                    yield from self._group(groups[alike], program) if program.matches else ()
                if not groups[alike]:
                    continue  # nothing is said of it
                if one is self.here.host:
                    hosts[direction] = groups[alike]
                else:
                    maps[direction][device_of(one.entry.interfaces[0])] = groups[alike]
        yield from self._around(maps, hosts)

    def _group(self, place: str, program: MatchProgram) -> Iterator[str]:
        """The chains of endpoints that are judged alike."""
        listed, lines = RuleList(program, place, self.name_set, VERDICTS), list[str]()
        asked = any(match.get("flow.opens") for match in program.matches)
        for family, packets in (("ipv4", WHOLE4), ("ipv6", WHOLE6)):
            for opens in (0, 1) if asked else (1,):
                yield from listed.of(_class(packets, opens))
            going = [f"{text} goto {place}.{packets.name}-on" for text in GOING[packets.name] if asked]
            lines += [f"meta nfproto {family} {line}" for line in (*going, f"goto {place}.{packets.name}")]
        yield from chain(place, lines)

    def _around(self, maps: Mapping[str, Mapping[str, str]], hosts: Mapping[str, str]) -> Iterator[str]:
        """What is done for all before and behind their rules, and where packets enter."""
        name = self.name
        yield from chain(f"{name}.whole6", decode.whole6(name))
        headers6 = [*decode.unread6(name, self.asked), *decode.malformed6(name)]
        yield from chain(f"{name}.headers6", headers6)
        yield from chain(f"{name}.headers4", decode.malformed4(name))
        yield from chain(f"{name}.read", self._read())
        yield from chain(f"{name}.source", self._source())
        yield from chain(f"{name}.known", self._known())
        for direction in fields.DIRECTIONS:
            yield from chain(f"{name}.{direction}", self._workload(direction, maps[direction]))
            if direction in hosts:
                yield from chain(f"{name}.host-{direction}", self._host(direction, hosts[direction]))
        workloads, judged = f"@{name}/workloads", f"@{name}/judged"
        arrives = [f"iifname {workloads} jump {name}.source"]
        sends, receives = (
            f"iifname {workloads} jump {name}.egress",
            f"oifname {workloads} jump {name}.ingress",
        )
        own = {d: [f"{w} {judged} jump {name}.host-{d}"] if d in hosts else [] for d, w in INTERFACES.items()}
        for hook, lines in {
            "forward": [
                f"iifname {workloads} jump {name}.read",
                f"oifname {workloads} jump {name}.read",
                *arrives,
                f"iifname {workloads} jump {name}.known",
                f"oifname {workloads} jump {name}.known",
                sends,
                receives,
            ],
            "input": [
                NEIGHBOURS,
                f"iifname {judged} jump {name}.read",
                *arrives,
                f"iifname {judged} jump {name}.known",
                sends,
                *own["ingress"],
            ],
            "output": [
                NEIGHBOURS,
                f"oifname {judged} jump {name}.read",
                f"oifname {judged} jump {name}.known",
                *own["egress"],
                receives,
            ],
        }.items():
            head = f"type filter hook {hook} priority 0; policy accept;"
            yield from chain(f"{name}.{hook}", [head, *lines])

    def _read(self) -> Iterator[str]:
        """What the kernel has not seen to when it looked at the headers."""
        yield f"meta nfproto ipv4 goto {self.name}.headers4"
        yield f"meta l4proto 0-255 goto {self.name}.headers6"
        yield f'counter name "{self.name}/malformed" drop'

    def _source(self) -> Iterator[str]:
        """A workload sends from its own addresses, and from those that stay on the link."""
        for family, (word, _) in WORDS.items():
            yield f"{word} saddr {{ {', '.join(UNFORWARDED[family])} }} return"
            yield f"iifname . {word} saddr @{self.name}/own-{family} return"
        yield f'counter name "{self.name}/foreign" drop'

    def _known(self) -> Iterator[str]:
        counted = f'counter name "{self.name}/flow" accept'
        yield f"ct state established {counted}"
        for errors in ERRORS:
            yield f"ct state related {errors} {counted}"

    def _workload(self, direction: str, places: Mapping[str, str]) -> Iterator[str]:
        """Rules of whoever is behind the interface, but for what it says to itself or its host begins."""
        interface, peer = ("iifname", "daddr") if direction == "egress" else ("oifname", "saddr")
        for family, (word, _) in WORDS.items():
            yield f"{interface} . {word} {peer} @{self.name}/own-{family} return"
            if direction == "ingress":
                yield f"{word} saddr @{self.name}/host-{family} return"
        if places:
            listed = ", ".join(f"{_quoted(name)} : goto {place}" for name, place in places.items())
            yield f"{interface} vmap {{ {listed} }}"

    def _host(self, direction: str, place: str) -> Iterator[str]:
        """The host's rules, for what is its own; what it begins with its workloads is not judged."""
        side, peer = ("saddr", "daddr") if direction == "egress" else ("daddr", "saddr")
        for family, (word, _) in WORDS.items():
            yield f"{word} {peer} @{self.name}/host-{family} return"
            if direction == "egress":
                yield f"{word} daddr @{self.name}/local-{family} return"
            yield f"{word} {side} @{self.name}/hosts-{family} goto {place}"


INTERFACES = {"ingress": "iifname", "egress": "oifname"}  # of the host's own packets


def _quoted(name: str) -> str:
    return f'"{name}"'


def _listed(ones: Iterable[Resident], family: str) -> list[str]:
    found = addresses((one.entry for one in ones), int(family))
    return [value_text(f"ip{family}", value) for low, high in found for value in range(low, high + 1)]
