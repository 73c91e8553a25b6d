"""One rule of the tree to one rule of the model, checked against its hook.

Knows the parts of a sentence and what a hook can see and do; must never know chains or tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lockgate.stdlib_bpf import fields, hooks
from lockgate.stdlib_bpf.effects import NONE
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state.limits import Limit

from .. import errors
from ..codes import TCP_FLAGS
from ..diagnostics import Sink
from ..source import Span
from ..syntax import tree as t
from .actions import ActionReader, Options, Place, decisions
from .conditions import Conditions, requirements
from .families import families
from .model import Flags, Network, Rule, Traffic, Where
from .networks import BROKEN, Networks
from .options import OptionReader
from .proxies import Proxies
from .targets import Targets
from .traffic import TrafficTypes

PORT_OF = {"from": "th.sport", "to": "th.dport"}
ETH_TYPE_OF = {4: fields.ETH_P_IP, 6: fields.ETH_P_IPV6}


def _may_be_ip(kind: Traffic) -> bool:
    return kind.eth_types is None or kind.eth_types.overlaps(fields.IP)


@dataclass
class Parts:
    """The conditions and options of one sentence, each at most once."""

    sides: dict[str, t.Side] = field(default_factory=dict)
    types: t.TypeTest | None = None
    flags: t.FlagTest | None = None
    conditions: dict[str, t.Where] = field(default_factory=dict)
    count: t.Count | None = None
    log: t.Log | None = None
    limit: t.Limit | None = None
    expires: t.Expires | None = None
    ticket: t.Ticket | None = None
    actions: Options = field(default_factory=Options)


# Options of `Parts.actions`: node → attribute.
ACTIONS: dict[type, str] = {t.Into: "into", t.Mark: "mark", t.Dscp: "dscp", t.With: "how", t.Via: "via"}


class Rules:
    """Checks rules. Complaints go to the sink of the scope; a rule that has any comes out as None."""

    def __init__(self, networks: Networks, traffic: TrafficTypes, targets: Targets, proxies: Proxies) -> None:
        self.networks, self.traffic = networks, traffic
        self.sink: Sink = networks.sink
        self.options = OptionReader(self.sink)
        self.actions = ActionReader(targets, proxies, self.sink)

    def rule(self, rule: t.Rule, place: Place, *, effects: bool = True) -> Rule | None:
        """The rule's meaning, or None after a complaint. `effects`: whether it does something to packets, or
        only speaks of them."""
        hook = place.hook
        before = self.sink.errors
        sound = self.action(rule.action, hook)
        parts = self.parts(rule.parts, hook)
        kinds = self.kinds(rule.kinds, hook)
        networks = {side: self._network(part, hook) for side, part in parts.sides.items()}
        ports = {
            side: self.traffic.ports(part.ports)
            for side, part in parts.sides.items()
            if part.ports is not None
        }
        bare = None if rule.kinds else rule.action.span
        kinds = self._narrow(kinds, parts, bare)
        flags = None if parts.flags is None else self.flags(parts.flags, kinds, bare)
        limit = None if parts.limit is None else self._limit(parts.limit, kinds, hook)
        deadline = None if parts.expires is None else self.options.deadline(parts.expires)
        where = None
        if kinds and not any(n is BROKEN for n in networks.values()):
            self._check_families(rule, parts, kinds, networks)
            if parts.conditions and self.sink.errors == before:
                where = self.where(parts, kinds, networks.values(), ports, place)
        does = self.actions.effects(rule.action, parts.actions, kinds, place) if effects else NONE
        if not sound or not kinds or self.sink.errors > before:
            return None
        if does.via is not None:
            where = place.not_of_proxies(where)
        return Rule(
            span=rule.span,
            verdict=rule.action.text,
            name=rule.label.text if rule.label else None,
            traffic=kinds,
            src=networks.get("from"),
            sports=ports.get("from"),
            dst=networks.get("to"),
            dports=ports.get("to"),
            flags=flags,
            where=where,
            count=parts.count.name.text if parts.count else None,
            limit=limit,
            sample=0 if parts.log is None else self.options.sample(parts.log),
            deadline=deadline,
            ticket=parts.ticket.text.text if parts.ticket else None,
            effects=does,
        )

    def _limit(self, limit: t.Limit, kinds: tuple[Traffic, ...], hook: hooks.Hook) -> Limit | None:
        if limit.per is not None and kinds and not any(_may_be_ip(kind) for kind in kinds):
            remedy = f"leave `per {limit.per.text}` out"
            self._complain(errors.ConditionMismatch(f"`per {limit.per.text}`", limit.span, "IP", remedy))
            return None
        return self.options.limit(limit, hook)

    def action(self, action: t.Name, hook: hooks.Hook, *, decides: bool = False) -> bool:
        """Whether the hook has the action; complains when not. `decides`: it must end the judging."""
        if action.text in hook.verdicts:
            return True
        if action.text in hook.passing:
            if decides:
                self._complain(errors.DoesNotDecide(action.text, action.span, decisions(hook)))
            return not decides
        if action.span.text != action.text:
            return False  # a misspelt word that was complained about
        why = hook.refusals.get(action.text)
        if why is None:
            self._complain(errors.NotYet(f"`{action.text}`", action.span))
        else:
            self._complain(errors.ActionNotAtHook(action.text, hook.name, action.span, *why))
        return False

    def parts(self, items: Iterable[t.Part], hook: hooks.Hook) -> Parts:
        """The parts of a sentence by kind; complains about repeated ones and those the hook cannot see."""
        parts = Parts()
        for item in items:
            match item:
                case t.Side(span, side, _, _):
                    if side in parts.sides:
                        self._repeated(f"`{side}`", span, parts.sides[side].span)
                    elif self._visible(side, span, hook):
                        parts.sides[side] = item
                case t.TypeTest(span, _):
                    if parts.types is not None:
                        self._repeated("`type`", span, parts.types.span)
                    elif self._visible("type", span, hook):
                        parts.types = item
                case t.FlagTest(span, _, _):
                    if parts.flags is not None:
                        self._repeated("`flags`", span, parts.flags.span)
                    elif self._visible("flags", span, hook):
                        parts.flags = item
                case t.Where(span, word, _):
                    if word in parts.conditions:
                        self._repeated(f"`{word}`", span, parts.conditions[word].span)
                    else:
                        parts.conditions[word] = item
                case t.Count(span, _):
                    if parts.count is not None:
                        self._repeated("`count`", span, parts.count.span)
                    parts.count = item
                case t.Log(span):
                    if parts.log is not None:
                        self._repeated("`log`", span, parts.log.span)
                    parts.log = item
                case t.Limit(span):
                    if parts.limit is not None:
                        self._repeated("`limit`", span, parts.limit.span)
                    parts.limit = item
                case t.Expires(span, _):
                    if parts.expires is not None:
                        self._repeated("`expires`", span, parts.expires.span)
                    parts.expires = item
                case t.Ticket(span, _):
                    if parts.ticket is not None:
                        self._repeated("`ticket`", span, parts.ticket.span)
                    parts.ticket = item
                case t.Into() | t.Mark() | t.Dscp() | t.With() | t.Via():
                    name = ACTIONS[type(item)]
                    if (first := getattr(parts.actions, name)) is not None:
                        self._repeated(f"`{item.span.text.split()[0]}`", item.span, first.span)
                    setattr(parts.actions, name, item)
                case t.NotYet(span, what):
                    self._complain(errors.NotYet(what, span))
        return parts

    def _repeated(self, what: str, span: Span, first: Span) -> None:
        self._complain(errors.Repeated(what, span, first))

    def _visible(self, condition: str, span: Span, hook: hooks.Hook) -> bool:
        """Whether the hook has the field behind a condition; complains when not."""
        names = {"from": "ip4.src", "to": "ip4.dst", "type": "icmp.type", "flags": "tcp.flags"}
        if hook.name in fields.lookup(names[condition]).hooks:
            return True
        self._complain(errors.NotAtHook(condition, hook.name, span))
        return False

    def kinds(self, kinds: tuple[t.Kind, ...], hook: hooks.Hook) -> tuple[Traffic, ...]:
        """The alternatives of traffic; none after a complaint."""
        found = self.traffic.kinds(kinds) if kinds else (Traffic(),)
        if hook.target == "cgroup":
            for a in found:
                if a.eth_types is not None and not a.eth_types.overlaps(fields.IP):
                    self._complain(errors.NotAtHook("arp", hook.name, kinds[0].span))
                    return ()
                if a.icmp_types is not None:
                    self._complain(errors.NotAtHook("type", hook.name, kinds[0].span))
                    return ()
        return found

    def _network(self, side: t.Side, hook: hooks.Hook) -> Network | None:
        if side.network is None:
            return None
        value = self.networks.value(side.network)
        if hook.target == "endpoint" or not self.networks.asks_endpoints(value):
            return value
        self._complain(errors.NotAtHook(side.network.span.text, hook.name, side.network.span, ("endpoint",)))
        return BROKEN

    def _narrow(self, kinds: tuple[Traffic, ...], parts: Parts, bare: Span | None) -> tuple[Traffic, ...]:
        """Kinds of traffic with the rule's types. `bare`: the action of a rule that names no traffic."""
        for side in parts.sides.values():
            if kinds and side.ports is not None and not self.traffic.have_ports(kinds, side.ports, bare):
                return ()
        if kinds and parts.types is not None:
            kinds = self.traffic.with_types(kinds, parts.types.types)
        return kinds

    def where(
        self,
        parts: Parts,
        kinds: tuple[Traffic, ...],
        networks: Iterable[Network | None],
        ports: Mapping[str, IntervalSet],
        place: Place,
    ) -> Where | None:
        """The conditions of a sentence as one; None after a complaint. `networks` and `ports`: what else the
        sentence asks."""
        spoken = [families(network) for network in networks if network is not None]
        eth_types = None
        if spoken and all(spoken):
            eth_types = IntervalSet.of(*(ETH_TYPE_OF[n] for n in frozenset.intersection(*spoken)))
        asked = {PORT_OF[side]: values for side, values in ports.items()}
        required = [requirements(kind, eth_types) | asked for kind in kinds]
        conditions = Conditions(self.sink, place, self.actions.targets, self.networks)
        return conditions.check(tuple(parts.conditions.values()), required)

    def flags(self, test: t.FlagTest, kinds: tuple[Traffic, ...], bare: Span | None = None) -> Flags | None:
        """Value of a flags test; None after a complaint. `bare`: as in `_narrow`."""
        tcp = IntervalSet.of(fields.IPPROTO_TCP)
        if kinds and not all(a.protocols is not None and a.protocols.issubset(tcp) for a in kinds):
            insert = None if bare is None else (bare, "tcp")
            self._complain(
                errors.ConditionMismatch("`flags`", test.span, "TCP", "write `tcp` before it", insert)
            )
            return None
        if any(flag.text.startswith("!") for flag in (*test.value, *(test.mask or ()))):
            self._complain(negated_flags(test))
            return None
        value = self.flag_bits(test.value)
        mask = None if test.mask is None else self.flag_bits(test.mask)
        if value is None or (test.mask is not None and mask is None):
            return None
        if mask is not None and value & ~mask:
            self._complain(flags_outside_mask(test))
            return None
        return Flags(value, mask)

    def flag_bits(self, flags: tuple[t.Name, ...]) -> int | None:
        """The bits of a list of flags; None after a complaint."""
        bits = 0
        for flag in flags:
            if flag.text not in TCP_FLAGS:
                known = tuple((name, None) for name in TCP_FLAGS)
                self._complain(errors.UnknownName("TCP flag", flag.text, flag.span, known))
                return None
            bits |= TCP_FLAGS[flag.text]
        return bits

    def _check_families(
        self, rule: t.Rule, parts: Parts, kinds: tuple[Traffic, ...], networks: dict[str, Network | None]
    ) -> None:
        """Complains when protocol and addresses leave no IP family in which the rule could match."""
        spoken = {side: families(n) for side, n in networks.items() if n is not None}
        if not spoken or not all(spoken.values()):
            return  # no addresses, or an empty network that was warned about
        if all(a.eth_types is not None and not a.eth_types.overlaps(fields.IP) for a in kinds):
            span = parts.sides[min(spoken)].span
            self._complain(errors.ConditionMismatch("an address", span, "IP", "leave the address out"))
            return
        left = frozenset.intersection(*spoken.values())
        usable = {
            family
            for family in left
            for a in kinds
            if a.eth_types is None or ETH_TYPE_OF[family] in a.eth_types
        }
        if not usable:
            spans = [parts.sides[side].span for side in spoken]
            self._complain(errors.FamilyMismatch(spans[-1], rule.kinds[0].span if left else spans[0]))

    def _complain(self, error: errors.Finding) -> None:
        self.sink.add(error.diagnostic())


def negated_flags(test: t.FlagTest) -> errors.BadFlags:
    """The complaint about `syn, !ack`. With one flag that is set, there is one thing it can mean."""
    wanted = [flag.text for flag in test.value if not flag.text.startswith("!")]
    unwanted = [flag.text[1:] for flag in test.value if flag.text.startswith("!")]
    span = next(f.span for f in (*test.value, *(test.mask or ())) if f.text.startswith("!"))
    instead = None
    if wanted and test.mask is None:
        text = f"{','.join(wanted)}/{','.join([*wanted, *unwanted])}"
        instead = (test.value[0].span.to(test.value[-1].span), text, len(wanted) == 1)
    return errors.BadFlags(span, "has a negated flag", instead)


def flags_outside_mask(test: t.FlagTest) -> errors.BadFlags:
    """The complaint about `syn/ack`: what is before the `/` must stand behind it, too."""
    behind = [flag.text for flag in test.mask or ()]
    text = ",".join(dict.fromkeys([*(flag.text for flag in test.value), *behind]))
    instead = (test.mask[0].span.to(test.mask[-1].span), text, False) if test.mask else None
    return errors.BadFlags(test.span, "asks for flags that its mask leaves out", instead)
