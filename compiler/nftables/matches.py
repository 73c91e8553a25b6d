"""One match for one class of packets: the texts of which one holds.

Knows the match IR and the classes; must never know what a rule does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

from ..match.ir import Match, MatchProgram
from . import words
from .classes import PacketClass, behind

SETS_OF = {"ip4": "4", "ip6": "6"}  # of an address field → end of the names of its dynamic sets


def live_set(name: str, family: str) -> str:
    """What a dynamic set is called, which nft keeps apart by family ("4" or "6")."""
    return f"{name}-{family}"


class Tests:
    """The tests of a rule list's matches. `name_set` gives sets their names."""

    def __init__(self, program: MatchProgram, name_set: words.NameSet) -> None:
        self.program, self.name_set = program, name_set

    def of(self, match: Match, packets: PacketClass) -> Iterator[str]:
        """Texts of which one holds exactly if the match does; none where no packet of the class matches."""
        found: list[tuple[str, ...]] = []
        for name, values in match.tests:
            alternatives = self._test(name, values, packets)
            if not alternatives:
                return
            if "" not in alternatives:
                found.append(alternatives)
        for chosen in product(*found):
            first = [packets.protocol] if any("ether " in text for text in chosen) else []
            yield " ".join(part for part in (*first, *chosen) if part)

    def _test(self, name: str, values: IntervalSet, packets: PacketClass) -> tuple[str, ...]:
        live = fields.split_live(name)
        if live is not None:
            return self._live(*live, values, packets)
        known = packets.known.get(name)
        if known is not None and known.issubset(values):
            return ("",)
        if known is not None and not known.overlaps(values):
            return ()
        if name in packets.alternatives:
            return self._listed(values, packets.alternatives[name])
        if name == "meta.iif":
            return _some([words.devices_test(values, self.program.devices)])
        if name == "tcp.flags":
            return (words.flags_test(values),) if "th.dport" in packets.words else ()
        spoken = behind(packets, self.program.hook, self.program.direction).get(name, ())
        texts = [(before, word.test(name, values, self.name_set)) for before, word in spoken]
        return _some(None if text is None else f"{before}{text}".strip() for before, text in texts)

    def _live(self, field: str, name: str, values: IntervalSet, packets: PacketClass) -> tuple[str, ...]:
        word = packets.words.get(field)
        if word is None:
            return ()
        if len(values) == 1 and values.count == 2:
            return ("",)
        held = f"@{live_set(name, SETS_OF[field.partition('.')[0]])}"
        return (f"{word.expression} {held}" if 1 in values else f"{word.expression} != {held}",)

    def _listed(self, values: IntervalSet, texts: Mapping[int, tuple[str, ...]]) -> tuple[str, ...]:
        asked = [value for value in texts if value in values]
        if len(asked) == len(texts):
            return ("",)
        return tuple(text for value in asked for text in texts[value])


def _some(texts: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(text for text in texts if text is not None)
