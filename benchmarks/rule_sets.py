"""Rule lists to measure with, drawn from a seed: same numbers, same rules.

Three families after the shapes that ClassBench found in real lists (Taylor, Turner: "ClassBench: a packet
classification benchmark", INFOCOM 2005), each a row: access lists (`acl`: both ends specific, exact
destination ports), firewalls (`fw`: many ends left open, many ranges), and chains of an IP filter (`ipc`:
between the two). Shares and lengths are ours, roughly theirs. Addresses come from networks that nest, as real
ones do, so that rules overlap.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from lockgate.stdlib_bpf.classifiers import Box

SEED = 1
TCP, UDP = 6, 17
ANY_ADDRESS, ANY_PORT, ANY_PROTOCOL = (0, (1 << 32) - 1), (0, 65535), (0, 255)
EXACT_PORTS = (21, 22, 25, 53, 80, 110, 123, 135, 139, 143, 161, 389, 443, 445, 1433, 1521, 3306, 3389, 8080)
HIGH_PORTS = (1024, 65535)


@dataclass(frozen=True)
class Family:
    """Shares, 0 to 1: of rules open at the source, at the destination, with any source port, any destination
    port, an exact one (the rest has a range), and of both protocols. `lengths`: prefix lengths with their
    weights."""

    open_source: float
    open_destination: float
    any_sport: float
    any_dport: float
    exact_dport: float
    both_protocols: float
    lengths: tuple[tuple[int, int], ...]


FAMILIES = {
    "acl": Family(
        0.01, 0.003, 0.999, 0.12, 0.75, 0.1, ((32, 60), (30, 5), (28, 8), (27, 5), (24, 15), (21, 5))
    ),
    "fw": Family(0.25, 0.2, 0.8, 0.35, 0.35, 0.2, ((32, 40), (28, 5), (24, 30), (22, 5), (16, 15), (13, 5))),
    "ipc": Family(
        0.08, 0.06, 0.9, 0.4, 0.45, 0.15, ((32, 50), (29, 10), (26, 5), (24, 20), (20, 5), (16, 10))
    ),
}


def boxes(family: str, count: int, seed: int = SEED) -> tuple[Box, ...]:
    """That many different rules over (source, destination, protocol, source port, destination port), the
    narrow ones before the wide ones as people write them."""
    draw, row = random.Random(f"rules {family} {seed}"), FAMILIES[family]
    sites = [draw.randrange(1 << 24, 223 << 24) >> 12 << 12 for _ in range(max(4, count // 50))]
    found: dict[tuple[tuple[int, int], ...], None] = {}
    while len(found) < count:
        found[_rule(draw, row, sites)] = None
    ordered = sorted(found, key=_size)
    return tuple(Box(number, ranges, 1 + number % 2) for number, ranges in enumerate(ordered))


def _size(ranges: tuple[tuple[int, int], ...]) -> int:
    return sum((high - low + 1).bit_length() for low, high in ranges)


def _rule(draw: random.Random, row: Family, sites: list[int]) -> tuple[tuple[int, int], ...]:
    source = ANY_ADDRESS if draw.random() < row.open_source else _network(draw, row, sites)
    destination = ANY_ADDRESS if draw.random() < row.open_destination else _network(draw, row, sites)
    protocol = ANY_PROTOCOL if draw.random() < row.both_protocols else (draw.choice((TCP, TCP, UDP)),) * 2
    sport = ANY_PORT if draw.random() < row.any_sport else HIGH_PORTS
    return source, destination, protocol, sport, _dport(draw, row)


def _network(draw: random.Random, row: Family, sites: list[int]) -> tuple[int, int]:
    lengths, weights = zip(*row.lengths, strict=True)
    (length,) = draw.choices(lengths, weights)
    free = (1 << 32 - length) - 1
    low = (draw.choice(sites) | draw.randrange(1 << 12)) & ~free
    return low, low | free


def _dport(draw: random.Random, row: Family) -> tuple[int, int]:
    chance = draw.random()
    if chance < row.any_dport:
        return ANY_PORT
    if chance < row.any_dport + row.exact_dport:
        return (draw.choice(EXACT_PORTS) if draw.random() < 0.6 else draw.randrange(1024, 65536),) * 2
    if draw.random() < 0.4:
        return HIGH_PORTS
    low = draw.randrange(1024, 60000)
    return low, low + draw.choice((1, 3, 9, 99, 999))


def policy_text(rules: tuple[Box, ...]) -> str:
    """The rules as a policy at XDP."""
    lines = "".join(f"  {sentence(box)}\n" for box in rules)
    return f'policy edge at xdp on "lo" {{\n  fragments first-only\n  default pass\n{lines}}}\n'


def write(folder: Path, family: str, count: int) -> tuple[Path, tuple[Box, ...]]:
    """Write the policy of a family; its path, and its rules."""
    rules = boxes(family, count)
    path = folder / f"{family}-{count}.gate"
    path.write_text(policy_text(rules))
    return path, rules


def sentence(box: Box) -> str:
    """A rule in the language."""
    source, destination, protocol, sport, dport = box.ranges
    words = [("pass", "drop")[box.code % 2], {TCP: "tcp", UDP: "udp"}.get(protocol[0], "tcp, udp")]
    for side, address, port in (("from", source, sport), ("to", destination, dport)):
        said = [*_address(address), *_port(port)]
        words += [side, *said] if said else []
    return " ".join(words)


def _address(ends: tuple[int, int]) -> list[str]:
    if ends == ANY_ADDRESS:
        return []
    length = 32 - (ends[1] - ends[0]).bit_length()
    return [".".join(map(str, ends[0].to_bytes(4))) + (f"/{length}" if length < 32 else "")]


def _port(ends: tuple[int, int]) -> list[str]:
    if ends == ANY_PORT:
        return []
    return ["port", str(ends[0]) if ends[0] == ends[1] else f"{ends[0]}-{ends[1]}"]
