"""`iptables-save` and `ip6tables-save`: the dump to rules over fields.

`dump.py` reads lines, `matches.py` and `targets.py` know the extensions as rows, `ipsets.py` reads `ipset
save`, `hooks.py` says where each built-in chain goes, `convert.py` puts it together. Source: iptables(8),
iptables-extensions(8), and the kernel's net/ipv4/netfilter/ip_tables.c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lockgate.stdlib_bpf.prefix_text import WIDTHS, BadPrefix, read_prefix
from lockgate.stdlib_bpf.sets import IntervalSet

from ... import errors
from ...diagnostics import Sink
from ...source import Source, Span
from .. import write
from ..names import Names
from . import convert, dump, ipsets
from .convert import Settings

__all__ = ["Settings", "imported", "settings"]


def settings(devices: Sequence[str], local: Sequence[str], ignore_nat: bool) -> Settings:
    """Settings from options. ValueError for a text that is no address or prefix."""
    if not local:
        return Settings(tuple(dict.fromkeys(devices)), None, ignore_nat)
    found: dict[int, list[tuple[int, int]]] = {family: [] for family in WIDTHS}
    for text in local:
        try:
            family, low, length = read_prefix(text)
        except BadPrefix as error:
            raise ValueError(f"`{text}` {error}") from None
        found[family].append((low, low + (1 << (WIDTHS[family] - length)) - 1))
    own = {family: IntervalSet.from_ranges(ranges) for family, ranges in found.items()}
    return Settings(tuple(dict.fromkeys(devices)), own, ignore_nat)


def imported(
    sources: Sequence[Source], given: Settings, sink: Sink, say: Callable[[str], None] = lambda text: None
) -> str | None:
    """The policy's text; None where there is no rule to write. Findings go to the sink. `say` hears what is
    being done."""

    def reached(source: Source) -> Callable[[int], None]:
        return lambda line: say(f"reading {source.shown}: line {line:,}")

    sets: dict[str, ipsets.AddressSet] = {}
    dumps = []
    for source in sources:
        if ipsets.is_sets(source.text):
            ipsets.read(source, sink, sets, reached(source))
        else:
            dumps.append(dump.read(source, sink, reached(source)))
    if not dumps:
        span = Span(sources[0], 0, len(sources[0].text.partition("\n")[0]))
        sink.add(errors.NotThisFormat(span, "dump of iptables-save", "only sets").diagnostic())
    if sink.has_errors:
        return None
    say("writing rules out")
    converter = convert.Converter(given, sets, sink)
    for one in dumps:
        one.family = one.family or 4
        converter.convert(one)
    result = converter.result
    result.head = convert.title([d.source.name for d in dumps])
    say("writing the policy")
    names = Names(result, _given(sets))
    return write.text(result, names) if result.policies else None


def _given(sets: dict[str, ipsets.AddressSet]) -> list[tuple[str, str, str, IntervalSet, str]]:
    """The sets that are one network or one list of ports, by name."""
    found = []
    for name, one in sets.items():
        if one.refused or len(one.kinds) != 1:
            continue
        kind, style = ("ports", "int") if one.kinds == ("port",) else ("network", f"ip{one.family}")
        for box in one.boxes(["src"], one.family):
            field = "th.sport" if kind == "ports" else f"{style}.src"
            found.append((name, kind, style, box[field], f"ipset {name}"))
    return found
