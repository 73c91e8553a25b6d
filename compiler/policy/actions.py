"""What a rule does besides deciding: `into`, `mark`, `dscp`, `with`, checked against its action and its hook.

Knows which option goes with which action; must never know conditions, nor how anything is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from lockgate.stdlib_bpf import fields, hooks
from lockgate.stdlib_bpf.effects import Effects, Proxy
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state.cgroups import lineage
from lockgate.stdlib_bpf.state.devices import is_pattern, place

from .. import errors
from ..codes import DSCP
from ..diagnostics import Sink
from ..syntax import tree as t
from .cgroups import FIELD, Cgroups
from .model import AllOf, Chain, FieldTest, Traffic, Where
from .proxies import Proxies
from .targets import Targets, namespace_of

SENDING = ("redirect", "mirror")
COPIED = ("egress", "ingress")  # ways that a copy can go
MARK_MAX = (1 << 32) - 1
DSCP_MAX = 63
TCP = IntervalSet.of(fields.IPPROTO_TCP)


def decisions(hook: hooks.Hook) -> tuple[str, ...]:
    """Verdicts that need nothing more to be said: what a default can be."""
    return tuple(action for action in hook.verdicts if action not in SENDING)


@dataclass
class Options:
    """What a sentence says of them, each at most once."""

    into: t.Into | None = None
    mark: t.Mark | None = None
    dscp: t.Dscp | None = None
    how: t.With | None = None
    via: t.Via | None = None


@dataclass
class Devices:
    """The devices that the rules of one list speak of, without namespaces, in the order they do. `known`:
    the list is complete, and any other device is just another one."""

    names: list[str] = field(default_factory=list)
    known: bool = False

    def place(self, name: str) -> int:
        """The place of a device, from 1 on; 0 for one that is not in a complete list."""
        if name not in self.names and not self.known:
            self.names.append(name)
        return place(self.names, name)


@dataclass(frozen=True)
class Place:
    """Where a rule stands: its hook, the block's direction ("" without one), what its policy is on (nothing
    where that is not known), the devices and the cgroups of its list, and the cgroups of all proxies that its
    rules send calls to."""

    hook: hooks.Hook
    direction: str = ""
    targets: tuple[str, ...] = ()
    devices: Devices = field(default_factory=Devices)
    cgroups: Cgroups = field(default_factory=Cgroups)
    proxies: tuple[str, ...] = ()

    def not_of_proxies(self, where: Where | None) -> Where:
        """A condition, and besides that no proxy of the list makes the call: so that no call goes round in a
        circle."""
        own = [self.cgroups.values(path, wanted=True) for path in self.proxies]
        others = FIELD.full
        for places in own:
            others -= places
        strangers = FieldTest(FIELD.name, others)
        return strangers if where is None else AllOf((where, strangers))

    @classmethod
    def of(cls, chain: Chain, one_packet: bool) -> Place:
        """Where tests of a checked chain stand. `one_packet`: a sentence describes one, not all that fit."""
        devices, cgroups = Devices(list(chain.devices), known=True), Cgroups(chain.cgroups, one_packet)
        return cls(hooks.ALL[chain.hook], chain.direction, chain.targets, devices, cgroups)

    def outside(self, devices: Iterable[str]) -> tuple[str, ...]:
        """The namespaces in question when devices do not lie where the policy's interfaces do; none when
        they do."""
        homes = {namespace_of(target) for target in self.targets}
        spoken = {namespace_of(device) for device in devices} - {""}
        if not homes or (len(homes) == 1 and spoken <= homes):
            return ()
        return tuple(sorted((homes | spoken) - {""}))


class ActionReader:
    """Checks effects. Complaints go to the sink."""

    def __init__(self, targets: Targets, proxies: Proxies, sink: Sink) -> None:
        self.targets, self.proxies, self.sink = targets, proxies, sink

    def effects(self, action: t.Name, options: Options, kinds: tuple[Traffic, ...], place: Place) -> Effects:
        """What the rule does to a packet; without what was complained about."""
        into, how = self._into(action, options.into, place)
        if options.how is not None:
            how = self._with(action, options.how, kinds, place.hook)
        return Effects(
            mark=self._mark(action, options.mark, place.hook),
            dscp=self._dscp(action, options.dscp, kinds, place.hook),
            into=into,
            how=how,
            via=self._via(action, options, kinds, place),
        )

    # ---- via ----

    def _via(
        self, action: t.Name, options: Options, kinds: tuple[Traffic, ...], place: Place
    ) -> Proxy | None:
        node, sends = options.via, action.text == "redirect" and place.hook.proxies
        if node is None:
            if sends and options.into is None:
                self._complain(errors.NeedsProxy(action.span, None))
            return None
        if not sends:
            if action.text != "redirect":
                why = f"`{action.text}` sends nothing to a proxy"
                self._misplaced("`via`", node, why, "write `redirect`, or leave `via` out")
            elif action.text in place.hook.verdicts:
                why = f"{place.hook.name} sends packets to devices"
                self._misplaced("`via`", node, why, "redirect to a proxy at connect, or write `into`")
            return None
        if kinds and not all(kind.protocols is not None and kind.protocols.issubset(TCP) for kind in kinds):
            insert = None if kinds != (Traffic(),) else (action.span, "tcp")
            remedy = "write `tcp` before it"
            self._complain(errors.ConditionMismatch("`via`", node.span, "TCP", remedy, insert))
            return None
        proxy = self.proxies.find(node.proxy)
        if proxy is None:
            return None
        if not proxy.cgroup:
            self._complain(errors.NeedsProxy(node.proxy.span, proxy.name))
            return None
        if place.targets and all(proxy.cgroup in lineage(target) for target in place.targets):
            self._complain(errors.ProxyToItself(node.span, proxy.name, proxy.cgroup))
            return None
        return proxy

    # ---- into ----

    def _into(self, action: t.Name, into: t.Into | None, place: Place) -> tuple[tuple[str, ...], str]:
        sends = action.text in SENDING and action.text in (*place.hook.verdicts, *place.hook.passing)
        if sends and place.hook.proxies:
            if into is not None:
                why = f"at {place.hook.name} there is no packet that could go to another device"
                self._misplaced("`into`", into, why, "write `via PROXY`, or redirect at tc or xdp")
            return (), ""
        if into is None:
            if sends:
                self._complain(errors.NeedsDevice(action.text, action.span, 0))
            return (), ""
        if not sends:
            if action.text not in SENDING:
                why = f"`{action.text}` sends nothing to another device"
                self._misplaced("`into`", into, why, "write `redirect`, or leave `into` out")
            return (), ""
        found = self.targets.devices(into.devices)
        for pattern in filter(is_pattern, found):
            reason = "packets are sent to devices that are named in full"
            self._complain(errors.BadTarget("interface", pattern, into.span, reason))
        if action.text == "redirect" and len(found) > 1:
            self._complain(errors.NeedsDevice(action.text, into.span, len(found)))
        if namespaces := place.outside(found):
            self._complain(errors.ForeignDevice(into.span, namespaces))
        devices = tuple(sorted(device.rpartition("/")[2] for device in found))
        for device in devices:
            place.devices.place(device)
        return devices, self._way(action, into, place)

    def _way(self, action: t.Name, into: t.Into, place: Place) -> str:
        ways = place.hook.ways
        first = next(iter(ways))
        if into.how is None:
            return first
        word = into.how.text
        known = [way for way in ways if action.text == "redirect" or way in COPIED]
        if word not in hooks.ALL["tc"].ways:  # the hook with all ways
            listed = tuple((way, None) for way in known)
            self._complain(errors.UnknownName("way into a device", word, into.how.span, listed))
        elif word not in known:
            what = f"a copy cannot go `as {word}`" if action.text == "mirror" else ""
            why = what or f"{place.hook.name} sends packets out of a device, and no other way"
            self._misplaced(f"`as {word}`", into.how, why, f"leave it out: `as {first}` is meant")
        elif place.direction not in ways[word]:
            why = f"`as {word}` exists for packets that arrive, not at {place.direction}"
            self._misplaced(f"`as {word}`", into.how, why, "write the rule in the block `ingress`")
        else:
            return word
        return first

    # ---- the others ----

    def _with(self, action: t.Name, node: t.With, kinds: tuple[Traffic, ...], hook: hooks.Hook) -> str:
        if action.text != "reject":
            self._misplaced(
                "`with`", node, f"`{action.text}` answers nobody", "write `reject`, or leave it out"
            )
            return ""
        if "reject" not in hook.verdicts:
            return ""
        if node.how.text not in hook.answers:
            known = tuple((name, None) for name in hook.answers)
            self._complain(errors.UnknownName("answer", node.how.text, node.how.span, known))
            return ""
        only_tcp = all(kind.protocols is not None and kind.protocols.issubset(TCP) for kind in kinds)
        if node.how.text == "reset" and kinds and not only_tcp:
            remedy = "write `tcp` before it, or `with refused`, which fits every protocol"
            self._complain(errors.ConditionMismatch("`with reset`", node.span, "TCP", remedy))
        return node.how.text

    def _mark(self, action: t.Name, node: t.Mark | None, hook: hooks.Hook) -> tuple[int, int] | None:
        if node is None or not self._lives_on("mark", action, node, hook):
            return None
        mask = MARK_MAX if node.mask is None else node.mask.value
        for number in (node.value, *((node.mask,) if node.mask else ())):
            if number.value > MARK_MAX:
                what = f"a mark of {number.span.text}"
                self._complain(errors.OutOfRange(what, number.span, 0, MARK_MAX))
                return None
        if node.value.value & ~mask:
            why = "its mask leaves out bits that it sets"
            self._misplaced("`mark`", node, why, f"write {node.value.value & mask:#x}, or a wider mask")
            return None
        return node.value.value, mask

    def _dscp(
        self, action: t.Name, node: t.Dscp | None, kinds: tuple[Traffic, ...], hook: hooks.Hook
    ) -> int | None:
        if node is None or not self._lives_on("dscp", action, node, hook):
            return None
        if kinds and not any(k.eth_types is None or k.eth_types.overlaps(fields.IP) for k in kinds):
            self._complain(errors.ConditionMismatch("`dscp`", node.span, "IP", "leave it out"))
            return None
        if isinstance(node.value, t.Number):
            if node.value.value > DSCP_MAX:
                what = f"a DSCP of {node.value.span.text}"
                self._complain(errors.OutOfRange(what, node.value.span, 0, DSCP_MAX))
                return None
            return node.value.value
        found = DSCP.get(node.value.text)
        if found is None:
            known = tuple((name, None) for name in DSCP)
            self._complain(errors.UnknownName("DSCP", node.value.text, node.value.span, known))
        return found

    def _lives_on(self, word: str, action: t.Name, node: t.Mark | t.Dscp, hook: hooks.Hook) -> bool:
        """Whether the hook has the option, and the packet a future in which it matters."""
        if word in hook.refusals:
            self._complain(errors.ActionNotAtHook(word, hook.name, node.span, *hook.refusals[word]))
            return False
        if action.text in hook.ends:
            why = f"after `{action.text}` there is no packet that could carry it"
            self._misplaced(f"`{word}`", node, why, "leave it out")
            return False
        return True

    def _misplaced(
        self, what: str, node: t.Into | t.With | t.Via | t.Mark | t.Dscp | t.Name, why: str, remedy: str
    ) -> None:
        self._complain(errors.MisplacedOption(what, node.span, why, remedy))

    def _complain(self, error: errors.Finding) -> None:
        self.sink.add(error.diagnostic())
