"""The figure of each target (`targets`), taken from rows of kept results.

Every function here, or what it returns, takes the rows of one result. ValueError, KeyError or StopIteration
when they lack what is asked for. Where several sets or families are meant the worst of them counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from .flood import EDGE
from .rule_lists import BY_HAND, CHOSEN, POOLS
from .structures import READ

Row = dict[str, Any]
Figure = Callable[[list[Row]], float]
LEAST_NS = 1.0  # what is net below that is nothing that can be told
MILLION = 1_000_000
NEARLY = 500_000  # real prefixes are as many as there are
HOSTS, MIXED = ("hosts",), ("prefixes", "block list")


def _sets(rows: list[Row], kinds: Iterable[str], least: int, most: int, version: int) -> Iterator[list[Row]]:
    """The rows of each set of these kinds and sizes."""
    for kind in kinds:
        mine = [r for r in rows if (r["set"], r["version"]) == (kind, version)]
        for size in sorted({r["entries"] for r in mine if least <= r["entries"] <= most}):
            yield [r for r in mine if r["entries"] == size]


def ours(rows: list[Row]) -> Row:
    return next(r for r in rows if r.get("chosen"))


def net(row: Row, what: str) -> float:
    return max(LEAST_NS, row[f"{what}_ns"])


def beside(
    what: str, kinds: Sequence[str], others: Callable[[Row], bool], least: int, most: int, version: int = 4
) -> Figure:
    """How many times the cost of what is chosen the best of others takes, on packets of a pool: the least of
    all such sets."""

    def figure(rows: list[Row]) -> float:
        return min(
            min(net(r, what) for r in found if others(r)) / net(ours(found), what)
            for found in _sets(rows, kinds, least, most, version)
        )

    return figure


def peer(row: Row) -> bool:
    return row["sort"] in ("map", "filter")


def trie(row: Row) -> bool:
    return bool(row["structure"] == "lpm_trie")


def latency(*kinds: str) -> Figure:
    """Of what is chosen, to that of one random read of as much memory."""

    def figure(rows: list[Row]) -> float:
        return max(
            net(ours(found), "half") / net(_read(found), "half")
            for found in _sets(rows, kinds, NEARLY, MILLION, 4)
        )

    return figure


def _read(rows: list[Row]) -> Row:
    return next(r for r in rows if r["structure"] == READ)


def bytes_an_entry(rows: list[Row]) -> float:
    chosen = [ours(found) for found in _sets(rows, ("hosts", *MIXED), MILLION, MILLION, 4)]
    return max(row["map_bytes"] / row["entries"] for row in chosen)


def rules(
    pick: Callable[[Sequence[float]], float],
    compared: Callable[[Row, dict[str, Row], str], Iterable[float]],
    least: int,
    most: int,
) -> Figure:
    """The worst of lists of these sizes, all families and both pools (in `{pool}` of a key). `compared`:
    figures of the chosen row and all rows of its list."""

    def figure(rows: list[Row]) -> float:
        found: list[float] = []
        for ours in rows:
            if ours["way"] == CHOSEN and least <= ours["rules"] <= most:
                key = (ours["family"], ours["rules"])
                alike = {r["way"]: r for r in rows if (r["family"], r["rules"]) == key and "refused" not in r}
                found += [value for pool in POOLS for value in compared(ours, alike, pool)]
        return pick(found)

    return figure


def more(ours: Row, rows: dict[str, Row], pool: str) -> Iterator[float]:
    if BY_HAND in rows:
        yield ours[f"{pool}_ns"] - rows[BY_HAND][f"{pool}_ns"]


def to(*ways: str) -> Callable[[Row, dict[str, Row], str], Iterator[float]]:
    def compared(ours: Row, rows: dict[str, Row], pool: str) -> Iterator[float]:
        yield from (net(rows[way], pool) / net(ours, pool) for way in ways if way in rows)

    return compared


def of(key: str) -> Callable[[Row, dict[str, Row], str], Iterator[float]]:
    def compared(ours: Row, rows: dict[str, Row], pool: str) -> Iterator[float]:
        yield ours[key.format(pool=pool)] / (ours["rules"] if key == "table_bytes" else 1)

    return compared


def verified(rows: list[Row]) -> float:
    """Of 100,000 rules to 10,000."""
    sizes = {(r["family"], r["rules"]): r["verified"] for r in rows if r["way"] == CHOSEN}
    return max(sizes[family, size] / sizes[family, 10_000] for family, size in sizes if size == 100_000)


def seconds(command: str, size: int, *kinds: str) -> Figure:
    """Of processors, which on a busy machine tells more than the clock does."""

    def figure(rows: list[Row]) -> float:
        found = [r for r in rows if r["command"] == command and r["size"] == size and r["kind"] in kinds]
        return max(r["cpu_s"] for r in found if not r["refused"])

    return figure


def edge(rows: list[Row]) -> float:
    return max(r["to_parse_only"] for r in rows if r["receiver"] == EDGE)


def change(rows: list[Row]) -> float:
    return max(max(r["kernel"][name][1] for name in ("add", "del")) for r in rows) * 1e6


def switch(rows: list[Row]) -> float:
    return max(min(r["parts"]["fill and switch"]) for r in rows if r["size"] == MILLION)


def predicted(rows: list[Row]) -> float:
    return max(max(r["ratio"], 1 / r["ratio"]) for r in rows)
