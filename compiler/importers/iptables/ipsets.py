"""`ipset save`: sets of addresses, networks and ports. Source: ipset(8).

Knows the types whose entries are conditions over fields; any other is refused where a rule asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from lockgate.stdlib_bpf.sets import IntervalSet

from ... import errors
from ...diagnostics import Sink
from ...source import Source, Span
from ..model import Box
from ..refusals import BadValueError, NotSayableError
from . import values

WORD_PROTOCOLS = frozenset({"tcp", "udp", "sctp"})


@dataclass
class AddressSet:
    """`kinds`: what an entry has, by the type: ("ip", "port") of hash:ip,port. `entries`: for all but the
    first kind, which addresses go with it; `out`: those that `nomatch` takes away again."""

    name: str
    span: Span
    kinds: tuple[str, ...]
    family: int
    entries: dict[tuple[object, ...], list[tuple[int, int]]] = field(default_factory=dict)
    out: list[tuple[int, int]] = field(default_factory=list)
    refused: str = ""

    def boxes(self, sides: list[str], family: int) -> list[Box]:
        """Disjoint conditions that together are membership. `sides`: "src" or "dst" for each kind.
        NotSayableError, BadValueError."""
        if self.refused:
            raise NotSayableError(self.name, self.refused)
        if len(sides) != len(self.kinds):
            raise BadValueError(",".join(sides), f"does not fit a set of {','.join(self.kinds)}")
        if self.kinds[0] != "port" and family != self.family:
            return []
        if self.kinds == ("port",):
            ports = IntervalSet.from_ranges(self.entries.get((), []))
            name = "th.sport" if sides[0] == "src" else "th.dport"
            return [{"ip.proto": values.WITH_PORTS, name: ports}] if ports else []
        first = f"ip{family}.{sides[0]}"
        if len(self.kinds) == 1:
            found = self._members()
            return [{first: found}] if found else []
        port = "th.sport" if sides[1] == "src" else "th.dport"
        boxes: list[Box] = []
        for (protocol, ports), ranges in self._by_port().items():
            boxes.append(
                {"ip.proto": IntervalSet.of(protocol), port: ports, first: IntervalSet.from_ranges(ranges)}
            )
        return boxes

    def _members(self) -> IntervalSet:
        """Addresses of a set of one kind: of several prefixes around one, the longest says (ipset(8))."""
        found = self.entries.get((), [])
        if not self.out:
            return IntervalSet.from_ranges(found)
        sizes: dict[int, tuple[list[tuple[int, int]], list[tuple[int, int]]]] = {}
        for which, ranges in enumerate((found, self.out)):
            for low, high in ranges:
                sizes.setdefault(high - low, ([], []))[which].append((low, high))
        inside = IntervalSet()
        for size in sorted(sizes, reverse=True):
            added, taken = sizes[size]
            inside = (inside | IntervalSet.from_ranges(added)) - IntervalSet.from_ranges(taken)
        return inside

    def _by_port(self) -> dict[tuple[int, IntervalSet], list[tuple[int, int]]]:
        """Addresses by protocol and port, those with the same addresses joined."""
        by_addresses: dict[tuple[int, IntervalSet], list[tuple[int, int]]] = {}
        for key, ranges in self.entries.items():
            protocol, low, high = key
            assert isinstance(protocol, int) and isinstance(low, int) and isinstance(high, int)
            where = (protocol, IntervalSet.from_ranges(ranges))
            by_addresses.setdefault(where, []).append((low, high))
        pieces: dict[tuple[int, IntervalSet], list[tuple[int, int]]] = {}
        taken: dict[int, IntervalSet] = {}
        for (protocol, inside), ports in by_addresses.items():
            found = IntervalSet.from_ranges(ports)
            if found.overlaps(taken.get(protocol, IntervalSet())):
                raise NotSayableError(self.name, "entries whose ports overlap in part")
            taken[protocol] = taken.get(protocol, IntervalSet()) | found
            pieces[(protocol, found)] = list(inside.ranges)
        return pieces


def is_sets(text: str) -> bool:
    """Whether a file looks like `ipset save`."""
    first = next((line for line in text.split("\n", 50) if line.strip() and line[0] != "#"), "")
    return first.startswith(("create ", "add "))


def read(source: Source, sink: Sink, into: dict[str, AddressSet], reached: Callable[[int], None]) -> None:
    """Add the sets of a file. Findings for lines that are none."""
    at = 0
    for number, line in enumerate(source.text.split("\n"), 1):
        span = Span(source, at, at + len(line))
        at += len(line) + 1
        if number % 5_000 == 0:
            reached(number)
        words = line.split()
        if not words or words[0][0] == "#":
            continue
        if words[0] == "create" and len(words) >= 3:
            into[words[1]] = _created(span, words)
        elif words[0] == "add" and len(words) >= 3:
            if words[1] not in into:
                sink.add(errors.MissingReference(span, "set", words[1]).diagnostic())
                continue
            try:
                _add(into[words[1]], words[2], words[3:])
            except BadValueError as error:
                sink.add(errors.BadImportValue(span, error.value, error.why).diagnostic())
        else:
            sink.add(errors.NotThisFormat(span, "output of `ipset save`", "no such command").diagnostic())
            return


def _created(span: Span, words: list[str]) -> AddressSet:
    method, _, kinds = words[2].partition(":")
    options = dict(pairwise(words[3:]))
    made = AddressSet(words[1], span, tuple(kinds.split(",")), 6 if options.get("family") == "inet6" else 4)
    if not method.startswith(("hash", "bitmap")) or made.kinds not in (
        ("ip",), ("net",), ("port",), ("ip", "port"), ("net", "port"),
    ):  # fmt: skip
        made.refused = f"sets of type {words[2]} are not conditions over fields"
    return made


def _add(target: AddressSet, entry: str, options: list[str]) -> None:
    if target.refused:
        return
    if "timeout" in options and options[options.index("timeout") + 1 :][:1] != ["0"]:
        target.refused = "its entries end by themselves; write a dynamic set and fill it with timeouts"
        return
    first, *rest = entry.split(",")
    if target.kinds == ("port",):
        target.entries.setdefault((), []).extend(values.span_of(first.rpartition(":")[2], 65535, "-"))
        return
    inside = (
        values.address_range(first, target.family) if "-" in first else values.addresses(first, target.family)
    )
    if "nomatch" in options:
        if rest:
            target.refused = "`nomatch` of addresses with ports"
        target.out.extend(inside.ranges)
        return
    key: tuple[object, ...] = ()
    if rest:
        protocol, colon, ports = rest[0].partition(":")
        if not colon:
            protocol, ports = "tcp", protocol
        if protocol not in WORD_PROTOCOLS:
            target.refused = "entries of protocols without ports"
            return
        (span,) = values.span_of(ports, 65535, "-")
        key = (values.PROTOCOLS[protocol], *span)
    target.entries.setdefault(key, []).extend(inside.ranges)
