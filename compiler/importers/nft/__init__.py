"""`nft -j list ruleset`: filter chains as policies at tc.

`ruleset.py` reads the objects, `expressions.py` and `statements.py` know what they ask and do, `hooks.py`
where chains go. Tables that our own back end wrote are known by their name: what they do before the rules,
reading the packet, is what every program of ours does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

from ... import errors
from ...diagnostics import Sink
from ...source import Source, Span
from .. import write
from ..devices import Devices, grouped
from ..flatten import ChainRule, Flattener, joined, labelled
from ..model import Action, Box, FlatPolicy, FlatRule, Imported
from ..names import Names
from ..refusals import REFUSALS, NotSayableError, tell
from . import ruleset
from .hooks import FAMILIES, HOOKS, NUMBERS, Hook
from .ruleset import Chain, Table
from .statements import Reader

OWN = "lockgate-"  # before the names of tables that our back end writes
# Packets by class, each with rules of its own there.
CLASSES: Mapping[str, Box] = {
    "ip4": {"eth.type": fields.IP4, "ip.fragment": IntervalSet.of(0, 1)},
    "ip4-later": {"eth.type": fields.IP4, "ip.fragment": IntervalSet.of(2)},
    "ip6": {"eth.type": fields.IP6, "ip.fragment": IntervalSet.of(0, 1)},
    "ip6-later": {"eth.type": fields.IP6, "ip.fragment": IntervalSet.of(2)},
    "other": {"eth.type": fields.IP.complement(16)},
}
REWRITING = frozenset({"snat", "dnat", "masquerade", "redirect", "tproxy", "mangle"})


@dataclass(frozen=True)
class Settings:
    """`devices`: where policies go, () for those that netdev chains name; `ignore_nat`: translated packets do
    not pass them."""

    devices: tuple[str, ...] = ()
    ignore_nat: bool = False


def imported(
    sources: Sequence[Source], given: Settings, sink: Sink, say: Callable[[str], None] = lambda text: None
) -> str | None:
    """The policy's text; None where there is no rule to write. Findings go to the sink."""
    converter = _Converter(given, sink)
    for source in sources:
        say(f"reading {source.shown}")
        for table in ruleset.read(source, sink):
            say(f"table {table.shown}")
            converter.convert(table, source)
    result = converter.result
    if not result.policies:
        return None
    say("writing the policy")
    result.head = [f"Imported from {', '.join(source.name for source in sources)}."]
    named = [found for one in converter.sets for found in one]
    return write.text(result, Names(result, named))


@dataclass
class _Converter:
    settings: Settings
    sink: Sink
    result: Imported = field(default_factory=Imported)
    devices: Devices = field(default_factory=Devices)
    sets: list[list[tuple[str, str, str, IntervalSet, str]]] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.result.devices = self.devices.names

    def convert(self, table: Table, source: Source) -> None:
        """Add the policies of a table's base chains."""
        bases = [chain for chain in table.chains.values() if chain.hook]
        for chain in bases:
            if table.family not in FAMILIES:
                self.sink.add(errors.NotPolicy(_place(chain, source), f"table {table.shown}", 1).diagnostic())
            elif chain.kind != "filter" or chain.hook not in HOOKS:
                self._no_filter(table, chain, source)
            elif chain.rules or chain.policy != "accept":
                self._policies(table, chain, HOOKS[chain.hook], source)

    def _no_filter(self, table: Table, chain: Chain, source: Source) -> None:
        """A chain that changes packets: reported, or refused where rules here would see others."""
        rules = [rule for one in table.chains.values() for rule in one.rules]
        rewriting = [r for r in rules if any(REWRITING & set(statement) for statement in r.expr)]
        if rewriting and chain.kind == "nat" and not self.settings.ignore_nat:
            why = "addresses are rewritten between this hook and the filter's chains"
            instead = "if such packets do not pass this device: --ignore-nat"
            tell(self.sink, rewriting[0].place, NotSayableError(f"table {table.shown}", why, instead))
        elif chain.rules:
            what = f"chain {chain.name} of table {table.shown}"
            self.sink.add(errors.NotPolicy(_place(chain, source), what, len(chain.rules)).diagnostic())

    def _policies(self, table: Table, chain: Chain, hook: Hook, source: Source) -> None:
        own = tuple(name.rpartition("/")[2] for name in chain.devices)
        devices = [d for d in self.settings.devices if not own or d in own] or list(own)
        if not devices:
            why, instead = "which interfaces the policy is for is not in the file", "say so: --device NAME"
            tell(self.sink, _place(chain, source), NotSayableError(chain.name, why, instead))
            return

        def made(device: str) -> tuple[list[FlatRule], list[str]]:
            before = len(self.sink.diagnostics)
            found = self._flat(table, chain, hook, device, source)
            if self.sink.has_errors and device != devices[0]:  # the same again: told once
                self.sink.take(before)
            return found, []

        for group in grouped(devices, made):
            default = "pass" if hook.forwarded else "drop" if chain.policy == "drop" else self._accepts(table)
            rules = labelled(_guards(table.family, hook, self.devices) + joined(group.rules))
            self.result.policies.append(
                FlatPolicy(
                    self._free(f"{table.name}-{chain.name}"),
                    tuple(group.devices),
                    hook.direction,
                    ((f"default {default}", f"policy {chain.policy}"), (f"fragments {hook.fragments}", "")),
                    tuple(rules),
                    NUMBERS.get(table.family, 0),
                    (f"Chain {chain.name} of table {table.shown}, hook {chain.hook}, {source.name}.",),
                )
            )

    @staticmethod
    def _accepts(table: Table) -> str:
        """Our word for `accept`, which ends a base chain and lets the next one of the hook judge."""
        return "allow" if table.name.startswith(OWN) else "pass"

    def _free(self, wish: str) -> str:
        name = "".join(c if c.isalnum() or c in "-_" else "-" for c in wish).removeprefix(OWN)
        made, number = name, 2
        while made in self._taken:
            made, number = f"{name}-{number}", number + 1
        self._taken.add(made)
        return made if made[:1].isalpha() else f"table-{made}"

    def _flat(self, table: Table, chain: Chain, hook: Hook, device: str, source: Source) -> list[FlatRule]:
        base = FAMILIES[table.family]
        reader = Reader(
            table, hook, device, self.devices, base, self._accepts(table), table.name.startswith(OWN)
        )
        own = [f"{chain.name}.{name}" for name in CLASSES] if table.name.startswith(OWN) else []
        starts = own if own and all(name in table.chains for name in own) else [chain.name]
        chains = {name: self._chain(table.chains[name], reader) for name in _reachable(table, starts)}
        self.sets.append(_names(table))
        end = Action("drop" if chain.policy == "drop" else self._accepts(table))
        found: list[FlatRule] = []
        for start in starts:
            within: Box = CLASSES[start.rpartition(".")[2]] if own and start in own else {}
            if hook.forwarded:
                within = {**within, "meta.iif": self.devices.arrived()}
            place = _place(chain, source)
            written = bool(hook.forwarded)
            flattener = Flattener(chains, self.sink, end, place, written, {**base, **within}, hook.whole)
            found += flattener.flatten(start, within)
        return found

    def _chain(self, chain: Chain, reader: Reader) -> list[ChainRule]:
        found: list[ChainRule] = []
        for rule in chain.rules:
            try:
                found += reader.rules(rule)
            except REFUSALS as error:
                tell(self.sink, rule.place, error)
            except (KeyError, TypeError, ValueError, AttributeError):
                why = "its form is not that of libnftables-json(5)"
                self.sink.add(errors.BadImportValue(rule.place, "rule", why).diagnostic())
        return found


def _place(chain: Chain, source: Source) -> Span:
    return chain.place or Span(source, 0, 0)


def _reachable(table: Table, starts: Sequence[str]) -> list[str]:
    """Chains that packets of some chains can come to."""
    found = list(starts)
    for name in found:
        for rule in table.chains[name].rules:
            for target in _targets(rule.expr):
                if target in table.chains and target not in found:
                    found.append(target)
        for one in table.sets.values():
            if "map" in one:
                found += [t for t in _targets(one.get("elem", [])) if t in table.chains and t not in found]
    return found


def _targets(value: object) -> list[str]:
    """Names of chains anywhere in some statements."""
    if isinstance(value, dict):
        inner = [t for part in value.values() for t in _targets(part)]
        return [*inner, value["target"]] if isinstance(value.get("target"), str) else inner
    return [t for part in value for t in _targets(part)] if isinstance(value, list) else []


def _guards(family: str, hook: Hook, devices: Devices) -> list[FlatRule]:
    """Packets that the chain never sees."""
    guards = []
    if seen := FAMILIES[family]:
        box: Box = {"eth.type": seen["eth.type"].complement(16)}
        label = Action("pass", label="other-families")
        guards.append(FlatRule(box, label, comment=f"a table of family {family} sees no others"))
    if hook.forwarded is False:
        box = {"meta.iif": devices.arrived()}
        guards.append(
            FlatRule(box, Action("pass", label="forwarded"), comment="output sees only local packets")
        )
    return guards


def _names(table: Table) -> list[tuple[str, str, str, IntervalSet, str]]:
    """Named sets of addresses and ports, as names for values."""
    kinds = {
        "ipv4_addr": ("network", "ip4"),
        "ipv6_addr": ("network", "ip6"),
        "inet_service": ("ports", "int"),
    }
    found = []
    for name, one in table.sets.items():
        if isinstance(one.get("type"), str) and one["type"] in kinds and "map" not in one and one.get("elem"):
            kind, style = kinds[one["type"]]
            field_name = "th.dport" if kind == "ports" else f"{style}.src"
            try:
                values = Reader(table, HOOKS["input"], "", Devices(), {}, "")._set(name, field_name)
            except REFUSALS:
                continue
            found.append((name, kind, style, values, f"set {name} of table {table.shown}"))
    return found
