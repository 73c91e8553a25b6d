"""Sets to try lookup structures with: many prefixes, of all lengths, near to each other and far apart."""

from __future__ import annotations

import random
from collections.abc import Iterator

from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.tables import Table


def drawn(seed: str, block: Table, width: int, count: int) -> IntervalSet:
    """That many prefixes, single values for a block that takes no ranges; the greater part crowded. Neither
    end of the domain is among them, so that the set is smaller than its complement."""
    draw = random.Random(f"{seed} {block.KIND} {width}")
    host_bits = 0 if block.EXACT else min(width * 3 // 4, 96)
    found = []
    for _ in range(count):
        spread = draw.choice((width, width, width * 3 // 4, width // 2))
        value = (draw.getrandbits(width) if spread == width else 0x2A << width - 8) ^ draw.getrandbits(spread)
        free = draw.randint(0, draw.randint(0, host_bits))
        low = value >> free << free
        found.append((low, low + (1 << free) - 1))
    top = (1 << width) - 1
    return IntervalSet.from_ranges((low, high) for low, high in found if low > 0 and high < top)


def keys(values: IntervalSet, width: int, count: int, seed: int = 1) -> Iterator[int]:
    """All ends of ranges and their neighbours, and that many keys more: any, and near to the set."""
    draw = random.Random(seed)
    for low, high in values:
        yield from (max(0, low - 1), low, high, min((1 << width) - 1, high + 1))
    for i in range(count):
        if i % 2 or not values:
            yield draw.getrandbits(width)
        else:
            low, _ = values.ranges[draw.randrange(len(values))]
            yield low ^ draw.getrandbits(draw.randint(0, width // 2))
