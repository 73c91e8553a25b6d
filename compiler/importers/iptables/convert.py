"""A dump's table `filter` as policies at the interfaces that are named.

Knows which rules are whose, and what must be known beyond the file; how options and chains are read is said
elsewhere (`matches.py`, `targets.py`, `flatten.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

from ... import errors
from ...diagnostics import Sink
from ..devices import Devices, grouped, left_out
from ..flatten import ChainRule, Flattener, Jump, Return, joined, labelled
from ..model import Action, Box, FlatPolicy, FlatRule, Imported
from ..refusals import REFUSALS, BadValueError, MissingError, NotSayableError, tell
from . import flows, matches, targets
from .draft import Draft, Place
from .dump import ChainText, Dump, RuleLine, Table
from .hooks import BY_CHAIN, HOOKS, Hook
from .ipsets import AddressSet

FILTER = "filter"
REWRITES = frozenset({"DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP", "TPROXY"})
TRANSPORT_FIELDS = frozenset(f.name for f in fields.ALL if f.transport)
BROADCAST = IntervalSet.of(0xFFFFFFFF)


@dataclass(frozen=True)
class Settings:
    """What the file does not say. `devices`: where the policies go; `local`: this host's addresses by family,
    None where nobody said them; `ignore_nat`: translated packets do not pass those devices."""

    devices: Sequence[str]
    local: Mapping[int, IntervalSet] | None = None
    ignore_nat: bool = False


@dataclass
class Converter:
    """Makes policies of dumps, one after the other."""

    settings: Settings
    sets: Mapping[str, AddressSet]
    sink: Sink
    result: Imported = field(default_factory=Imported)
    devices: Devices = field(default_factory=Devices)

    def __post_init__(self) -> None:
        self.result.devices = self.devices.names

    def convert(self, dump: Dump) -> None:
        """Add the policies of a dump."""
        self._other_tables(dump)
        table = dump.tables.get(FILTER)
        if table is None:
            return
        for name, chain in table.chains.items():
            if chain.policy != "-" and name not in BY_CHAIN:
                tell(self.sink, chain.span, NotSayableError(name, "the table `filter` has no such chain"))
        forwards, stateful = self._forwards(table), _stateful(table)
        for hook in HOOKS:
            built_in = table.chains.get(hook.chain)
            if built_in is None or (not built_in.rules and built_in.policy == "ACCEPT"):
                continue
            if hook.chain == "INPUT" and forwards and self.settings.local is None and not stateful:
                tell(
                    self.sink,
                    built_in.span,
                    NotSayableError(
                        hook.chain,
                        "this host forwards, and before routing a packet does not tell whom it is for",
                        "say which addresses are this host's: --local ADDRESS",
                    ),
                )
                continue
            if stateful and hook.forwarded is not True:
                self._for_hosts(dump, table, hook, built_in)
            else:
                self._policies(dump, table, hook, built_in)
        if stateful:
            self._rest()

    def _forwards(self, table: Table) -> bool:
        """Whether the table lets forwarded packets through, or says so much that it may."""
        chain = table.chains.get("FORWARD")
        if chain is None or not chain.rules:
            return False
        accepts = any("ACCEPT" in r.words for c in table.chains.values() for r in c.rules)
        return chain.policy == "ACCEPT" or accepts

    def _other_tables(self, dump: Dump) -> None:
        """Report what is no policy; refuse what changes what the filter's rules look at."""
        for name, table in dump.tables.items():
            rules = [rule for chain in table.chains.values() for rule in chain.rules]
            if name == FILTER or not rules:
                continue
            rewriting = [r for r in rules if REWRITES.intersection(r.words)]
            if rewriting and not self.settings.ignore_nat:
                tell(
                    self.sink,
                    rewriting[0].span,
                    NotSayableError(
                        rewriting[0].span.text,
                        "addresses are rewritten between this hook and the filter's chains",
                        "if such packets do not pass this device: --ignore-nat",
                    ),
                )
            else:
                self.sink.add(errors.NotPolicy(rules[0].span, f"table {name}", len(rules)).diagnostic())

    # ---- policies ----

    def _policies(self, dump: Dump, table: Table, hook: Hook, chain: ChainText) -> None:
        """The policies of one built-in chain: one for all devices that are judged alike."""

        def made(device: str) -> tuple[list[FlatRule], list[str]]:
            before = len(self.sink.diagnostics)
            found = self._flat(dump, table, hook, chain, device)
            if self.sink.has_errors and device != self.settings.devices[0]:  # the same again: told once
                self.sink.take(before)
            return found

        family = dump.family
        for number, group in enumerate(grouped(self.settings.devices, made)):
            name = f"{hook.chain.lower()}{'6' if family == 6 else ''}"
            name += f"-{group.devices[0]}" if number else ""
            default = "pass" if hook.forwarded else targets.DECIDES.get(chain.policy, "allow")
            policy = f"{chain.span.line}: policy {chain.policy}"
            self.result.policies.append(
                FlatPolicy(
                    name,
                    tuple(group.devices),
                    hook.direction,
                    (
                        ("default " + default, "" if hook.forwarded else policy),
                        (f"fragments {hook.fragments}", hook.why),
                    ),
                    tuple(labelled(self._guards(hook, family) + joined(group.rules))),
                    family,
                    (f"Chain {hook.chain} of {dump.source.name}.", *group.said),
                )
            )

    def _for_hosts(self, dump: Dump, table: Table, hook: Hook, chain: ChainText) -> None:
        """One of the chains that the host itself meets, whose rules ask for connections."""

        def made(device: str) -> tuple[list[FlatRule], list[str]]:
            return self._flat(dump, table, hook, chain, device, flows_known=True)

        groups = grouped(self.settings.devices, made)
        if self.sink.has_errors:
            return
        if len(groups) > 1:
            why = "its rules differ by interface, and a policy for hosts is for all of a host's"
            tell(
                self.sink,
                chain.span,
                NotSayableError(hook.chain, why, "name interfaces that are judged alike"),
            )
            return
        try:
            rules = flows.left_out(groups[0].rules, hook.chain, chain.span)
        except NotSayableError as error:
            tell(self.sink, chain.span, error)
            return
        six = dump.family == 6
        tier = "ip6tables" if six else "iptables"
        if tier not in self.result.tiers:
            self.result.tiers.append(tier)
        self.result.policies.append(
            FlatPolicy(
                f"{hook.chain.lower()}{'6' if six else ''}",
                (),
                hook.direction,
                ((f"tier {tier}", ""), ("state loose", "whatever belongs to no flow may begin one")),
                tuple(labelled(self._guards(hook, dump.family)[:1] + joined(rules))),
                dump.family,
                (f"Chain {hook.chain} of {dump.source.name}; packets of known flows pass.", *groups[0].said),
                hosts=True,
            )
        )

    def _rest(self) -> None:
        """Packets that no chain is about pass."""
        if not self.result.tiers or "rest" in self.result.tiers:
            return
        self.result.tiers.append("rest")
        said: tuple[str, ...] = ("What no chain is about passes.",)
        for direction in dict.fromkeys(p.direction for p in self.result.policies if p.hosts):
            everything = (FlatRule({}, Action("allow")),)
            attributes = (("tier rest", ""),)
            self.result.policies.append(
                FlatPolicy(f"rest-{direction}", (), direction, attributes, everything, 0, said, hosts=True)
            )
            said = ()

    def _guards(self, hook: Hook, family: int) -> list[FlatRule]:
        """Packets that the chain never sees."""
        others = "ip6tables" if family == 6 else "iptables"
        guards = [
            FlatRule(
                {"eth.type": (fields.IP6 if family == 6 else fields.IP4).complement(16)},
                Action("pass", label="other-families"),
                comment=f"{others} sees IPv{family} only",
            )
        ]
        if hook.forwarded is False:
            box: Box = {"meta.iif": self.devices.arrived()}
            guards.append(
                FlatRule(box, Action("pass", label="forwarded"), comment="OUTPUT sees only local packets")
            )
        local = None if self.settings.local is None else self.settings.local[family]
        if hook.chain == "INPUT" and local is not None:
            inside = local | matches.MULTICAST[family] | (BROADCAST if family == 4 else IntervalSet())
            elsewhere = inside.complement(32 if family == 4 else 128)
            guards.append(
                FlatRule(
                    {f"ip{family}.dst": elsewhere},
                    Action("pass", label="elsewhere"),
                    comment="for other hosts",
                )
            )
        return guards

    def _flat(
        self,
        dump: Dump,
        table: Table,
        hook: Hook,
        chain: ChainText,
        device: str,
        flows_known: bool = False,
    ) -> tuple[list[FlatRule], list[str]]:
        local = None if self.settings.local is None else self.settings.local[dump.family]
        place = Place(
            dump.family,
            device,
            hook.side,
            hook.other,
            hook.whole,
            hook.mark,
            local,
            self.devices.number,
            self.sets,
            flows_known,
            flows_known and _drops_invalid(chain),
        )
        chains: dict[str, list[ChainRule]] = {}
        never: list[int] = []
        for name in _reachable(table, hook.chain):
            read = [(line, self._rule(line, table, place)) for line in table.chains[name].rules]
            chains[name] = [rule for _, rule in read if rule is not None and rule.boxes]
            never += [line.span.line for line, rule in read if rule is not None and not rule.boxes]
        word = targets.DECIDES.get(chain.policy, "allow")
        base: Box = {"eth.type": fields.IP6 if dump.family == 6 else fields.IP4}
        within: Box = {"meta.iif": self.devices.arrived()} if hook.forwarded else {}
        flattener = Flattener(
            chains,
            self.sink,
            Action(word),
            chain.span,
            written=bool(hook.forwarded) or flows_known,
            base=base,
            whole=hook.whole,
        )
        flat = flattener.flatten(hook.chain, within)
        return flat, [*left_out(never, device), *flattener.said]

    # ---- one rule ----

    def _rule(self, line: RuleLine, table: Table, place: Place) -> ChainRule | None:
        """A rule in the shared form, without boxes when it matches nothing here; None after a finding."""
        draft = Draft(place)
        try:
            _read(draft, line.words)
            then = _then(draft, table)
        except REFUSALS as error:
            tell(self.sink, line.span, error)
            return None
        boxes = draft.boxes
        if draft.transport and not place.whole:
            boxes = [
                b if TRANSPORT_FIELDS & b.keys() else {**b, "ip.fragment": matches.WHOLE_OR_FIRST}
                for b in boxes
            ]
        return ChainRule(tuple(boxes), then, line.span, draft.comment, line.lead)


def title(names: Sequence[str]) -> list[str]:
    """What stands at the head of the file."""
    files = ", ".join(PurePath(name).name for name in names)
    return [
        f"Imported from {files}. Numbers behind rules are its lines; `9 > 12` is line 12, reached by",
        "the jump in line 9.",
    ]


def _stateful(table: Table) -> bool:
    """Whether rules that the host itself meets ask for connections."""
    met = {
        name for chain in ("INPUT", "OUTPUT") if chain in table.chains for name in _reachable(table, chain)
    }
    return any(flows.MODULES & set(rule.words) for name in met for rule in table.chains[name].rules)


def _drops_invalid(chain: ChainText) -> bool:
    """Whether a chain drops what begins no flow, and that before it asks for anything new."""
    for rule in chain.rules:
        words = set(rule.words)
        if words <= {"-m", "conntrack", "state", "--ctstate", "--state", "INVALID", "-j", "DROP"}:
            return "INVALID" in words
        if words & {"-j", "-g"} and not words & {"ACCEPT", "DROP", "RETURN"}:
            return False
        if "NEW" in " ".join(rule.words):
            return False
    return False


def _reachable(table: Table, start: str) -> list[str]:
    """Chains that packets of a built-in chain can come to."""
    found, pending = [start], [start]
    while pending:
        for rule in table.chains[pending.pop()].rules:
            for name in rule.words[-2:]:
                if name in table.chains and name not in found:
                    found.append(name)
                    pending.append(name)
    return found


def _read(draft: Draft, words: list[str]) -> None:
    """Go through a rule's options."""
    at, negated = 0, False
    while at < len(words):
        word = matches.SPELT.get(words[at], words[at])
        at += 1
        if word == "!":
            negated = True
            continue
        if word in ("-j", "-g", "--jump", "--goto"):
            draft.target, draft.goto = (words[at] if at < len(words) else ""), word in ("-g", "--goto")
            _target(draft, words[at + 1 :])
            return
        if word in ("-m", "--match"):
            draft.module = words[at] if at < len(words) else ""
            draft.transport |= draft.module in matches.TRANSPORT
            at += 1
            if draft.module in matches.WHY and not (draft.place.flows and draft.module in flows.MODULES):
                raise NotSayableError(f"-m {draft.module}", matches.WHY[draft.module])
            continue
        option = matches.OPTIONS.get(word)
        if option is None:
            what = f"-m {draft.module} {word}" if draft.module else word
            raise NotSayableError(what, "no field or condition here says this")
        if at + option.arity > len(words):
            raise BadValueError(word, "lacks its value")
        option.apply(draft, words[at : at + option.arity], negated)
        at, negated = at + option.arity, False


def _target(draft: Draft, words: list[str]) -> None:
    """What stands behind the target's name."""
    name, at = draft.target, 0
    answer, prefix = "icmp-port-unreachable" if draft.place.family == 4 else "icmp6-port-unreachable", ""
    while at < len(words):
        word = words[at]
        if name == "REJECT" and word == "--reject-with" and at + 1 < len(words):
            answer, at = words[at + 1], at + 2
        elif name in targets.LOGS and word in targets.LOG_WORDS:
            if word in ("--log-prefix", "--nflog-prefix") and at + 1 < len(words):
                prefix = words[at + 1]
            at += 1 + targets.LOG_WORDS[word]
        else:
            raise NotSayableError(f"-j {name} {word}", "no action here does this")
    if draft.states and draft.states <= flows.KNOWN and name != "ACCEPT":
        raise NotSayableError(f"--ctstate … -j {name}", "packets of known flows pass, and no rule sees them")
    if draft.states and draft.states <= flows.KNOWN:
        draft.action = Action("continue", label=flows.LABEL)
    elif name in targets.DECIDES:
        draft.action = Action(targets.DECIDES[name], limit=draft.limit)
    elif name == "REJECT" and draft.place.flows:
        raise NotSayableError("-j REJECT", "policies for hosts answer nobody", "write -j DROP")
    elif name == "REJECT":
        draft.action = replace(targets.reject(draft, answer), limit=draft.limit)
    elif name in targets.LOGS:
        draft.action = Action("continue", log=True, label=targets.label(prefix), limit=draft.limit)


def _then(draft: Draft, table: Table) -> Action | Jump | Return:
    """What a rule does when it matches."""
    if draft.action is not None:
        return draft.action
    if not draft.target:
        return Action("continue", limit=draft.limit)
    if draft.limit is not None:
        raise NotSayableError(
            f"limit … -j {draft.target}",
            "a limit belongs to a rule that decides or logs, not to the way to a chain",
        )
    if draft.target == "RETURN":
        return Return()
    if draft.target in table.chains:
        return Jump(draft.target, back=not draft.goto)
    if draft.target.isupper():
        raise NotSayableError(f"-j {draft.target}", "no action here does this")
    raise MissingError("chain", draft.target)
