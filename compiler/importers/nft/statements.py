"""A rule's statements as rules in the shared form. Source: libnftables-json(5), STATEMENTS.

Knows statements, sets and verdict maps; what an expression looks at is `expressions.py`. Statements are run
from left to right, and ours ask everything before they act, so nothing may be asked behind a log or a
limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

from ..devices import Devices, fits
from ..flatten import ChainRule, Jump, Return
from ..iptables.targets import label
from ..model import Action, Box, Limit, full, meet
from ..refusals import BadValueError, MissingError, NotSayableError
from . import expressions
from .hooks import Hook
from .ruleset import Rule, Table

UNITS = {"second": "s", "minute": "m", "hour": "h"}
DEFAULT_BURST = 5
ANSWERS = {
    ("tcp reset", None): "reset", ("icmp", "port-unreachable"): "port", ("icmp", "host-unreachable"): "host",
    ("icmp", "net-unreachable"): "network", ("icmp", "admin-prohibited"): "prohibited",
    ("icmpv6", "port-unreachable"): "port", ("icmpv6", "addr-unreachable"): "host",
    ("icmpv6", "no-route"): "network", ("icmpv6", "admin-prohibited"): "prohibited",
    ("icmpx", "port-unreachable"): "port", ("icmpx", "host-unreachable"): "host",
    ("icmpx", "no-route"): "network", ("icmpx", "admin-prohibited"): "prohibited", (None, None): "port",
}  # fmt: skip
DEVICE_KEYS = {"iifname": "iif", "iif": "iif", "oifname": "oif", "oif": "oif"}
FRAGMENTS = {
    (0x1FFF, 0): (0, 1),
    (0x3FFF, 0): (0, 0),
}  # mask and value of IPv4's fragment field → ip.fragment
EXTENSIONS = {
    "hbh": "ip6.hop-by-hop", "rt": "ip6.routing", "dst": "ip6.destination", "frag": "ip6.frag-header",
}  # fmt: skip
ETH_HEADER = 14
TAGGED = IntervalSet.of(0x8100, 0x88A8)
WHAT_THEY_DO = frozenset({"accept", "drop", "continue", "return", "jump", "goto", "reject", "vmap"})


@dataclass
class Reader:
    """Reads the rules of one table for one device at one hook. `accepts`: our word for accept; `own`: our own
    back end wrote the table."""

    table: Table
    hook: Hook
    device: str
    devices: Devices
    base: Box
    accepts: str
    own: bool = False
    named_limits: set[str] = field(default_factory=set)
    _sets: dict[tuple[str, str], IntervalSet] = field(default_factory=dict)

    def rules(self, rule: Rule) -> list[ChainRule]:
        """The rules that one is; none if it matches nothing at this device. A refusal."""
        boxes: list[Box] = [{}]
        limit: Limit | None = None
        logged, name = False, ""
        for at, statement in enumerate(rule.expr):
            ((kind, value),) = statement.items()
            if kind == "match":
                if limit is not None or logged:
                    raise NotSayableError(
                        "a condition behind a log or limit", "conditions are asked first here"
                    )
                boxes = [both for a in boxes for b in self._match(value) if (both := meet(a, b)) is not None]
            elif kind == "counter":
                name = value if isinstance(value, str) else ""
            elif kind == "limit":
                limit = self._limit(value)
            elif kind == "log":
                logged = True
                prefix = value.get("prefix", "") if isinstance(value, dict) else ""
                name = name or prefix
            elif kind in WHAT_THEY_DO:
                if at + 1 < len(rule.expr):
                    raise NotSayableError(f"something behind {kind}", "a rule ends with what it does")
                return self._done(rule, boxes, kind, value, limit, logged, _name(name))
            else:
                raise NotSayableError(kind, "no action here does this")
        action = Action("continue", log=logged, label=_name(name), limit=limit)
        return [ChainRule(tuple(boxes), action, rule.place, rule.comment)] if boxes else []

    def _done(
        self,
        rule: Rule,
        boxes: list[Box],
        kind: str,
        value: Any,
        limit: Limit | None,
        logged: bool,
        name: str,
    ) -> list[ChainRule]:
        """The rules with what they do at last."""
        if not boxes:
            return []
        pairs = self._vmap(value) if kind == "vmap" else [({}, self._then({kind: value}))]
        made: list[ChainRule] = []
        for box, then in pairs:
            inside = tuple(both for a in boxes if (both := meet(a, box)) is not None)
            if not inside or then is None:
                continue
            if isinstance(then, Action):
                then = Action(then.word, then.answer, logged, name, limit)
            elif limit is not None:
                raise NotSayableError(
                    "limit", "it belongs to a rule that decides or logs, not to the way to a chain"
                )
            elif logged:
                made.append(
                    ChainRule(inside, Action("continue", log=True, label=name), rule.place, rule.comment)
                )
            made.append(ChainRule(inside, then, rule.place, rule.comment))
        return made

    def _then(self, verdict: dict[str, Any]) -> Action | Jump | Return | None:
        """What a verdict is; None for `continue`."""
        ((kind, value),) = verdict.items()
        if kind == "continue":
            return None
        if kind == "reject":
            parts = value or {}
            answer = ANSWERS.get((parts.get("type"), parts.get("expr")))
            if answer is None:
                raise NotSayableError(f"reject with {parts.get('expr')}", "there is no such answer here")
            return Action("reject", answer)
        if kind in ("jump", "goto"):
            if value["target"] not in self.table.chains:
                raise MissingError("chain", value["target"])
            return Jump(value["target"], back=kind == "jump")
        return Return() if kind == "return" else Action(self.accepts if kind == "accept" else "drop")

    # ---- conditions ----

    def _match(self, match: dict[str, Any]) -> list[Box]:
        """Disjoint boxes of one comparison."""
        left, op, right = match["left"], match["op"], match["right"]
        if isinstance(left, dict) and left.get("meta", {}).get("key") in DEVICE_KEYS:
            return self._device(DEVICE_KEYS[left["meta"]["key"]], op, right)
        if (tagged := _vlan(left, op, right)) is not None:
            return [tagged] if tagged["vlan.id"] else []
        if isinstance(left, dict) and "exthdr" in left:
            return [self._extension(left["exthdr"], op, right)]
        if left == {"meta": {"key": "length"}}:
            return [self._length(op, right)]
        looked = expressions.looked_at(left)
        if looked.field == "ip.frag-off":
            return [{**looked.implied, "ip.fragment": self._fragment(looked.mask, op, right)}]
        if looked.field.startswith("eth.") and looked.field != "eth.type" and self._link_is_gone():
            why = "where packets leave, the header of the link they came by is gone"
            raise NotSayableError(looked.field, why)
        if looked.field == "meta.mark" and not self.hook.mark:
            raise NotSayableError("meta mark", "marks are set behind this hook")
        if isinstance(right, str) and right.startswith("@"):
            found = self._set(right[1:], looked.field)
            found = found.complement(fields.lookup(looked.field).width_bits) if op == "!=" else found
        else:
            found = expressions.compared(looked, op, right)
        return [{**looked.implied, looked.field: found}] if found else []

    def _link_is_gone(self) -> bool:
        """Whether packets get another link-layer header between the chain and our hook."""
        return self.hook.direction == "egress" and self.table.family != "netdev"

    def _length(self, op: str, right: Any) -> Box:
        """`meta length`: that of the IP packet, and where the link layer is judged that of the frame without
        its header."""
        if self.table.family != "netdev":
            return {"eth.type": fields.IP, "ip.length": expressions.ordered(op, right, "ip.length")}
        if self.hook.direction != "ingress":
            raise NotSayableError("meta length", "what it counts depends on the device")
        found = expressions.ordered(op, right, "meta.length")
        top = full("meta.length").ranges[0][1]
        ranges = ((low + ETH_HEADER, min(high + ETH_HEADER, top)) for low, high in found)
        return {"meta.length": IntervalSet.from_ranges(ranges)}

    def _extension(self, header: dict[str, Any], op: str, right: Any) -> Box:
        """Whether an IPv6 extension header is there; in tables of our own also which fragments are first."""
        name, inner = EXTENSIONS.get(header["name"], ""), header.get("field")
        if name and inner is None and op == "==" and isinstance(right, bool):
            return {"eth.type": fields.IP6, name: IntervalSet.of(int(right))}
        if self.own and (header["name"], inner, op) == ("frag", "more-fragments", "=="):
            box: Box = {"eth.type": fields.IP6, "ip.fragment": IntervalSet.of(int(right))}
            return box if right else {**box, "ip6.frag-header": IntervalSet.of(1)}
        raise NotSayableError(f"{header['name']} {inner or ''}".strip(), "no field here says this")

    def _fragment(self, mask: int | None, op: str, right: Any) -> IntervalSet:
        """IPv4's fragment field, where a comparison asks for a kind of fragment. In tables of our own no
        later fragment comes where the flag for more of them is asked."""
        kinds = FRAGMENTS.get((mask or 0, right if isinstance(right, int) else -1))
        if self.own and (mask, right) == (0x2000, 0):
            kinds = (0, 0)
        if op not in ("==", "!=") or kinds is None:
            raise NotSayableError("ip frag-off", "fragments are whole, first or later")
        found = IntervalSet.of(kinds)
        return found if op == "==" else IntervalSet.of((0, 2)) - found

    def _set(self, name: str, field_name: str) -> IntervalSet:
        """The values of a named set."""
        key = (name, field_name)
        if key not in self._sets:
            one = self.table.sets.get(name)
            if one is None:
                raise MissingError("set", name)
            if isinstance(one["type"], list):
                raise NotSayableError(f"@{name}", "conditions over several fields at once are many rules")
            if {"timeout", "dynamic"} & set(one.get("flags", ())):
                instead = f"write `network {name} = dynamic max …` and fill it with `lockgate set add`"
                raise NotSayableError(f"@{name}", "it is filled while it runs", instead)
            self._sets[key] = expressions.values(field_name, {"set": one.get("elem", [])})
        return self._sets[key]

    def _device(self, side: str, op: str, right: Any) -> list[Box]:
        """A comparison of the interface."""
        names = right["set"] if isinstance(right, dict) and "set" in right else [right]
        if op not in ("==", "!=") or not all(isinstance(name, str) for name in names):
            raise NotSayableError(side, "interfaces are compared by name")
        if any(name.startswith("@") for name in names):
            raise NotSayableError(f"{side} {names[0]}", "a set of interfaces is not looked up")
        if side == self.hook.side:
            return [{}] if any(fits(name, self.device, "*") for name in names) == (op == "==") else []
        if side != self.hook.other:
            return [] if op == "==" else [{}]  # packets here have no such interface
        if any(name.endswith("*") for name in names):
            raise NotSayableError(
                f"{side} {names[0]}", "the interface a packet came in by is asked by its name"
            )
        inside = IntervalSet.of(*(self.devices.number(name) for name in names))
        return [{"meta.iif": inside if op == "==" else full("meta.iif") - inside}]

    def _vmap(self, value: dict[str, Any]) -> list[tuple[Box, Action | Jump | Return | None]]:
        """Keys and verdicts of a verdict map."""
        data = value["data"]
        if isinstance(data, str):
            named = self.table.sets.get(data.removeprefix("@"))
            if named is None:
                raise MissingError("map", data)
            pairs = named.get("elem", [])
        else:
            pairs = data["set"]
        found: list[tuple[Box, Action | Jump | Return | None]] = []
        for key, verdict in pairs:
            inner = key["elem"]["val"] if isinstance(key, dict) and "elem" in key else key
            for box in self._match({"op": "==", "left": value["key"], "right": inner}):
                found.append((box, self._then(verdict)))
        return found

    def _limit(self, value: Any) -> Limit:
        """A limit, or the named one."""
        if isinstance(value, str):
            if value in self.named_limits:
                raise NotSayableError(f"limit {value}", "several rules share its bucket")
            self.named_limits.add(value)
            if value not in self.table.limits:
                raise MissingError("limit", value)
            value = self.table.limits[value]
        if value.get("inv"):
            raise NotSayableError(
                "limit rate over", "a rule matches while tokens are left, never when none is"
            )
        if value.get("rate_unit", "packets") != "packets" or value["per"] not in UNITS:
            raise NotSayableError("limit", "rates are packets for a second, a minute or an hour")
        if not isinstance(value["rate"], int):
            raise BadValueError(str(value["rate"]), "is not a rate")
        return Limit(f"{value['rate']}/{UNITS[value['per']]}", value.get("burst") or DEFAULT_BURST)


def _name(text: str) -> str:
    """A rule's name from that of its counter, or of its log."""
    return label(text.rpartition("/")[2])


def _vlan(left: Any, op: str, right: Any) -> dict[str, IntervalSet] | None:
    """The raw form of questions for a VLAN that our own back end writes; None for anything else."""
    mask = 0xFFFF
    if isinstance(left, dict) and "&" in left and isinstance(left["&"][1], int):
        left, mask = left["&"]
    raw: Mapping[str, Any] = left.get("payload", {}) if isinstance(left, dict) else {}
    if raw.get("base") != "ll" or raw.get("len") != 16:
        return None
    if raw["offset"] == 96 and op == "==" and expressions.values("vlan.id", right) == TAGGED:
        return {"vlan.id": full("vlan.id")}
    if raw["offset"] == 112 and mask == 0x0FFF and op in ("==", "!="):
        return {"vlan.id": expressions.values("vlan.id", right) if op == "==" else
                expressions.values("vlan.id", right).complement(12)}  # fmt: skip
    return None
