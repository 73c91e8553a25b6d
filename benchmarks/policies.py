"""Policies and prefix lists to measure with, drawn from a seed: same numbers, same text.

Prefix lengths follow a routing table with a block list's hosts on top, since lists of one length flatter
tries and hashes alike.
"""

from __future__ import annotations

import ipaddress
import random
from pathlib import Path

SEED = 1
# (prefix length, weight, how many at most)
LENGTHS4 = (
    (12, 2, 30),
    (14, 4, 120),
    (16, 20, 1_500),
    (18, 20, 5_000),
    (20, 45, 20_000),
    (22, 100, 60_000),
    (23, 80, 60_000),
    (24, 400, None),
    (26, 30, None),
    (28, 50, None),
    (30, 30, None),
    (32, 150, None),
)
LENGTHS6 = ((32, 150, None), (36, 30, None), (40, 80, None), (44, 80, None), (48, 500, None), (64, 60, None))
UNICAST4 = (1 << 24, 223 << 24)
UNICAST6 = (0x2000 << 112, 0x4000 << 112)


def prefixes(count: int, version: int = 4, seed: int = SEED) -> list[tuple[int, int]]:
    """(value, prefix length) of that many different prefixes, ascending."""
    draw = random.Random(f"prefixes {version} {seed}")
    lengths, width = (LENGTHS4, 32) if version == 4 else (LENGTHS6, 128)
    low, high = UNICAST4 if version == 4 else UNICAST6
    weights = [weight for _, weight, _ in lengths]
    drawn = dict.fromkeys((length for length, _, _ in lengths), 0)
    found: set[tuple[int, int]] = set()
    while len(found) < count:
        length, _, most = draw.choices(lengths, weights)[0]
        if most is not None and drawn[length] >= most:
            continue
        value = draw.randrange(low, high) >> (width - length) << (width - length)
        if (value, length) not in found:
            found.add((value, length))
            drawn[length] += 1
    return sorted(found)


def text_of(entries: list[tuple[int, int]], version: int = 4) -> str:
    """Prefixes as the lines of a prefix file."""
    kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    return "".join(f"{kind(value)}/{length}\n" for value, length in entries)


def hosts(count: int, version: int = 4, seed: int = SEED) -> list[tuple[int, int]]:
    """(value, prefix length) of that many different addresses, ascending; those of IPv6 lie in networks of a
    few thousand providers, with random lower halves."""
    draw, found = random.Random(f"hosts {version} {seed}"), set[int]()
    while len(found) < count:
        if version == 4:
            found.add(draw.randrange(*UNICAST4))
        else:
            found.add(0x2A << 120 | draw.getrandbits(12) << 96 | draw.getrandbits(96))
    return [(value, 32 if version == 4 else 128) for value in sorted(found)]


def block_list(count: int, version: int = 4, seed: int = SEED) -> list[tuple[int, int]]:
    """That many addresses and prefixes as block lists mix them: 7 of 10 are addresses, 2 are /24, the rest
    lies between; ascending."""
    draw, found = random.Random(f"block list {version} {seed}"), set[tuple[int, int]]()
    while len(found) < count:
        length = draw.choices((32, 24, draw.randrange(25, 32)), (7, 2, 1))[0]
        found.add((draw.randrange(*UNICAST4) >> 32 - length << 32 - length, length))
    return sorted(found)


def nested(count: int, version: int = 4, seed: int = SEED) -> list[tuple[int, int]]:
    """That many prefixes, each the outermost or an inner one of a chain of four around one address."""
    draw, found = random.Random(f"nested {version} {seed}"), dict[tuple[int, int], None]()
    low, high = UNICAST4 if version == 4 else UNICAST6
    width, outermost = (32, (16, 18, 20)) if version == 4 else (128, (32, 36, 40, 48))
    while len(found) < count:
        value, first = draw.randrange(low, high), draw.choice(outermost)
        for length in range(first, first + 16, 4):
            found[value >> width - length << width - length, length] = None
    return sorted(list(found)[:count])


def list_policy(folder: Path, count: int, version: int = 4) -> Path:
    """Write a policy that drops what comes from that many prefixes, and the list; its path."""
    return entries_policy(folder, f"list{version}_{count}", prefixes(count, version), version)


def entries_policy(folder: Path, name: str, entries: list[tuple[int, int]], version: int) -> Path:
    """Write a policy that drops what comes from the (value, prefix length) entries, and the list; its
    path."""
    (folder / f"{name}.txt").write_text(text_of(entries, version))
    path = folder / f"{name}.gate"
    path.write_text(
        f'network listed = file "{name}.txt"\n\n'
        'policy edge at xdp on "lo" {\n  default pass\n  fragments first-only\n  drop from listed\n}\n'
    )
    return path


def sets_policy(folder: Path, sets: list[list[tuple[int, int]]], version: int) -> Path:
    """Write a policy with a rule for each set of (value, prefix length) entries that drops what comes from
    it, and the sets; its path."""
    for number, entries in enumerate(sets):
        (folder / f"set{number}.txt").write_text(text_of(entries, version))
    names = "".join(f'network set{number} = file "set{number}.txt"\n' for number in range(len(sets)))
    rules = "".join(f"  r{number}: drop from set{number}\n" for number in range(len(sets)))
    path = folder / "sets.gate"
    head = 'policy edge at xdp on "lo" {\n  default pass\n  fragments first-only\n'
    path.write_text(f"{names}{head}{rules}}}\n")
    return path


def bare_policy(folder: Path) -> Path:
    """Write a policy that decodes and counts, and looks nothing up; its path."""
    path = folder / "bare.gate"
    path.write_text('policy edge at xdp on "lo" {\n  fragments first-only\n  default pass\n  drop tcp\n}\n')
    return path


def file_policy(folder: Path, contents: list[str]) -> Path:
    """Write prefix files and a policy that drops what comes from any of them; its path."""
    for number, text in enumerate(contents):
        (folder / f"part{number}.txt").write_text(text)
    files = ", ".join(f'file "part{number}.txt"' for number in range(len(contents)))
    path = folder / "files.gate"
    path.write_text(
        f"network listed = {{ {files} }}\n\n"
        'policy edge at xdp on "lo" {\n  default pass\n  fragments first-only\n  drop from listed\n}\n'
    )
    return path


def rules_policy(folder: Path, count: int) -> Path:
    """Write a policy of that many named rules (any or a prefix, tcp or udp, a port or a range); its path."""
    draw = random.Random(f"rules {SEED}")
    lines = []
    for i in range(count):
        length = draw.choice((8, 12, 16, 20, 24, 24, 28, 32, 32, 32))
        source = f"from {text_of([(_masked(draw, length), length)]).strip()} " if draw.random() < 0.85 else ""
        port = draw.randrange(1024, 65000)
        last = port + draw.randrange(1, 30) if draw.random() < 0.3 else port
        ports = f"{port}" if last == port else f"{port}-{last}"
        lines.append(
            f"  r{i}: {draw.choice(('drop', 'pass'))} {draw.choice(('tcp', 'udp'))} {source}to port {ports}\n"
        )
    path = folder / f"rules_{count}.gate"
    head = 'policy edge at xdp on "lo" {\n  default pass\n  fragments first-only\n'
    path.write_text(head + "".join(lines) + "}\n")
    return path


def _masked(draw: random.Random, length: int) -> int:
    return draw.randrange(*UNICAST4) >> (32 - length) << (32 - length)
