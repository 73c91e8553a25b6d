"""Names for values that occur more than once, and for those that have one in the source.

Knows when a person would declare a name, and makes one; must never know a source language.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from lockgate.stdlib_bpf.sets import IntervalSet

from ..policy.names import ENTITIES, PROTOCOLS
from .model import Box, Imported, Named
from .sentence import WIDTHS, network, prefix_texts, words

LEAST_PARTS = 2  # prefixes or ranges: a single one is its own best name
LONG = 8  # parts; such a list gets a name although it occurs once
STYLES = {f"{style}.{side}": style for style in WIDTHS for side in ("src", "dst")}
KINDS = dict.fromkeys(STYLES, "network") | {"th.sport": "ports", "th.dport": "ports"}
RESERVED = frozenset(PROTOCOLS) | ENTITIES | {"any", "not", "file", "dynamic", "port", "max"}
_WORD = re.compile(r"[A-Za-z_]\w*(?:[.-]\w+)*\Z")
_OTHER = re.compile(r"[^A-Za-z0-9_]+")


class Names:
    """Names of values in one file. `given`: name in the source → (kind, style, values, what it was)."""

    def __init__(
        self, imported: Imported, given: Iterable[tuple[str, str, str, IntervalSet, str]] = ()
    ) -> None:
        self._by_values: dict[tuple[str, IntervalSet], str] = {}
        self._taken: set[str] = set()
        self._source = {(kind, values): (name, note) for name, kind, _, values, note in given}
        uses: Counter[tuple[str, str, IntervalSet]] = Counter()
        for policy in imported.policies:
            for rule in policy.rules:
                _count(rule.box, uses)
        for (kind, style, values), count in uses.items():
            self._consider(imported, kind, style, values, count)

    def __call__(self, kind: str, values: IntervalSet) -> str | None:
        """The name of a network's or port list's values."""
        return self._by_values.get((kind, values))

    def _consider(self, imported: Imported, kind: str, style: str, values: IntervalSet, count: int) -> None:
        """Declare a name, if the source has one or a person would make one."""
        for found in (values, values.complement(WIDTHS.get(style, 16))):
            if (source := self._source.get((kind, found))) is not None:
                if (kind, found) not in self._by_values:
                    self._declare(imported, kind, style, found, source[0], source[1])
                return
        if kind == "network":
            rest = values.complement(WIDTHS[style])
            values = rest if rest and len(rest) < len(values) else values
            parts = words(network(values, style, lambda kind, values: None))
        else:
            parts = len(values)
        if (kind, values) in self._by_values or not (parts >= LONG or (parts >= LEAST_PARTS and count >= 2)):
            return
        self._declare(imported, kind, style, values, _invented(kind, style, values), "")

    def _declare(
        self, imported: Imported, kind: str, style: str, values: IntervalSet, wish: str, note: str
    ) -> None:
        name = self.free(wish)
        self._by_values[(kind, values)] = name
        imported.names.append(Named(name, kind, {style: values}, note))

    def free(self, wish: str) -> str:
        """A name like `wish` that may be declared and is not taken."""
        base = wish if _WORD.match(wish) else _OTHER.sub("-", wish).strip("-") or "unnamed"
        if not _WORD.match(base) or base in RESERVED:
            base = f"set-{base}"
        name, number = base, 2
        while name in self._taken:
            name, number = f"{base}-{number}", number + 1
        self._taken.add(name)
        return name


def _count(box: Box, uses: Counter[tuple[str, str, IntervalSet]]) -> None:
    for name, kind in KINDS.items():
        values = box.get(name)
        if values is not None:
            uses[(kind, STYLES.get(name, "int"), values)] += 1


COMMON_PORTS: Mapping[tuple[int, ...], str] = {
    (80, 443): "web-ports",
    (20, 21): "ftp-ports",
    (67, 68): "dhcp-ports",
    (110, 143, 993, 995): "mailbox-ports",
    (25, 465, 587): "mail-ports",
    (137, 138, 139, 445): "smb-ports",
}


def _invented(kind: str, style: str, values: IntervalSet) -> str:
    """A name for values that the source has none for: what they are, or their first part."""
    if kind == "ports":
        singles = tuple(v for low, high in values for v in range(low, min(high, low + 8) + 1))
        if singles in COMMON_PORTS:
            return COMMON_PORTS[singles]
        return f"ports-{values.ranges[0][0]}"
    first = prefix_texts(values, style)[0]
    return f"net-{_OTHER.sub('-', first)}"
