"""What matches ask, one row an option: iptables(8), iptables-extensions(8), net/netfilter/xt_*.c.

Knows options and the fields that they look at; must never know chains or targets. An option without a row
cannot be said, and neither can a module in WHY, whose reason is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lockgate.stdlib_bpf.sets import IntervalSet

from ... import codes
from ..devices import fits
from ..model import Box, Limit, full
from ..refusals import BadValueError, MissingError, NotSayableError
from . import flows, ipsets, values
from .draft import Draft

Apply = Callable[[Draft, list[str], bool], None]
WHOLE_OR_FIRST = IntervalSet.of(0, 1)  # of ip.fragment
LATER = IntervalSet.of(2)
DEFAULT_BURST = 5  # XT_LIMIT, net/netfilter/xt_limit.c and iptables-extensions(8)


@dataclass(frozen=True)
class Option:
    """`arity`: words behind it; `apply` gets the draft, those words, and whether `!` stood before."""

    arity: int
    apply: Apply


# Modules that cannot be said, and why.
WHY: dict[str, str] = {
    "conntrack": "a policy at an interface judges each packet by itself: it knows no flows",
    "state": "a policy at an interface judges each packet by itself: it knows no flows",
    "owner": "packets have no process; rules about users are for the hook `connect`",
    "string": "what lies behind the headers is not looked at",
    "u32": "packets are asked by field, not by offset",
    "bpf": "a program of bytecode is opaque",
    "recent": "a rule does not remember addresses for others; a dynamic set is filled from outside",
    "time": "rules hold at any time of day",
    "statistic": "verdicts do not depend on chance",
    "connlimit": "a policy at an interface judges each packet by itself: it knows no flows",
    "connbytes": "a policy at an interface judges each packet by itself: it knows no flows",
    "connmark": "a policy at an interface judges each packet by itself: it knows no flows",
    "quota": "counters decide nothing",
    "physdev": "a bridge's ports are devices of their own: import the rules for them",
    "policy": "IPsec is undone behind this hook",
    "pkttype": "what kind a link-layer address is of is not a field",
    "rpfilter": "routes are not asked",
    "socket": "sockets are not looked up at this hook",
    "helper": "a policy at an interface judges each packet by itself: it knows no flows",
    "realm": "routes are not asked",
    "tos": "only the code point is a field; write the rule with `-m dscp`",
}


def apply_fragment(draft: Draft, words: list[str], negated: bool) -> None:
    """`-f`: later fragments. Where datagrams are whole again, there are none."""
    if not draft.place.whole:
        draft.ask("ip.fragment", LATER, negated)
    elif not negated:
        draft.never()


def _address(side: str) -> Apply:
    def apply(draft: Draft, words: list[str], negated: bool) -> None:
        family = draft.place.family
        draft.ask(draft.place.address(side), values.addresses(words[0], family), negated)

    return apply


def _range(side: str) -> Apply:
    def apply(draft: Draft, words: list[str], negated: bool) -> None:
        family = draft.place.family
        draft.ask(draft.place.address(side), values.address_range(words[0], family), negated)

    return apply


def _protocol(draft: Draft, words: list[str], negated: bool) -> None:
    asked = values.protocol(words[0])
    if asked is not None:
        draft.ask("ip.proto", IntervalSet.of(asked), negated)
    elif negated:
        draft.never()


def _interface(option: str) -> Apply:
    def apply(draft: Draft, words: list[str], negated: bool) -> None:
        name, place = words[0], draft.place
        if option == place.side:
            if fits(name, place.device, "+") == negated:
                draft.never()
        elif option != place.other:
            raise NotSayableError(f"{option} {name}", "packets of this chain have no such interface")
        elif name == "+":
            if negated:
                draft.never()
        elif name.endswith("+"):
            raise NotSayableError(
                f"{option} {name}", "the interface a packet came in by is asked by its name"
            )
        else:
            draft.ask("meta.iif", IntervalSet.of(place.device_number(name)), negated)

    return apply


def _port(field: str) -> Apply:
    def apply(draft: Draft, words: list[str], negated: bool) -> None:
        values.need_ports(draft)
        draft.ask(field, values.span_of(words[0], 65535), negated)

    return apply


def _ports(field: str) -> Apply:
    def apply(draft: Draft, words: list[str], negated: bool) -> None:
        values.need_ports(draft)
        draft.ask(field, values.ports(words[0]), negated)

    return apply


def _either_port(draft: Draft, words: list[str], negated: bool) -> None:
    values.need_ports(draft)
    found = values.ports(words[0])
    if negated:
        draft.ask("th.sport", found, True)
        draft.ask("th.dport", found, True)
        return
    others = found.complement(16)
    second: list[Box] = [{"th.sport": others, "th.dport": found}] if others else []
    draft.alternatives([{"th.sport": found}, *second])


def _tcp_flags(draft: Draft, words: list[str], negated: bool) -> None:
    mask, value = values.flags(words[0]), values.flags(words[1])
    draft.ask("tcp.flags", values.with_flags(mask, value), negated)


def _syn(draft: Draft, words: list[str], negated: bool) -> None:
    _tcp_flags(draft, ["FIN,SYN,RST,ACK", "SYN"], negated)


def _icmp(number: int, name: str) -> Apply:
    def apply(draft: Draft, words: list[str], negated: bool) -> None:
        if draft.boxes and draft.protocols != IntervalSet.of(number):
            raise NotSayableError(" ".join(words), "the rule is not of that protocol")
        kind, _, code = words[0].partition("/")
        if kind in ("any", "255") and number == 1:
            draft.transport = True
            if negated:
                draft.never()
            return
        known = codes.ICMP_TYPES[number]
        what = known[kind] if kind in known else values.number(kind, 255)
        box: Box = {f"{name}.type": IntervalSet.of(what)}
        if not code:
            draft.ask(f"{name}.type", IntervalSet.of(what), negated)
            return
        codes_asked = values.span_of(code, 255)
        if negated:
            draft.alternatives(
                [
                    {f"{name}.type": IntervalSet.of(what).complement(8)},
                    {**box, f"{name}.code": codes_asked.complement(8)},
                ]
            )
        else:
            draft.alternatives([{**box, f"{name}.code": codes_asked}])

    return apply


def _quantity(field: str, relation: str) -> Apply:
    def apply(draft: Draft, words: list[str], negated: bool) -> None:
        most = full(field).ranges[0][1]
        if relation == "range":
            found = values.span_of(words[0], most)
        else:
            n = values.number(words[0], most)
            found = {
                "eq": IntervalSet.of(n),
                "lt": IntervalSet.of((0, n - 1)) if n else IntervalSet(),
                "gt": IntervalSet.of((n + 1, most)) if n < most else IntervalSet(),
            }[relation]
        draft.ask(field, found, negated)

    return apply


def _dscp_class(draft: Draft, words: list[str], negated: bool) -> None:
    word = {"be": "cs0"}.get(words[0].lower(), words[0].lower())
    if word not in codes.DSCP:
        raise BadValueError(words[0], "is no class")
    draft.ask("ip.dscp", IntervalSet.of(codes.DSCP[word]), negated)


def _mac(draft: Draft, words: list[str], negated: bool) -> None:
    if draft.place.side == "-o":
        why = "where packets leave, the header of the link they came by is gone"
        raise NotSayableError(f"--mac-source {words[0]}", why)
    try:
        draft.ask("eth.src", IntervalSet.of(codes.read_mac(words[0])), negated)
    except ValueError:
        raise BadValueError(words[0], "is no MAC address") from None


def _mark(draft: Draft, words: list[str], negated: bool) -> None:
    if draft.module != "mark":
        raise NotSayableError(f"-m {draft.module} --mark", WHY.get(draft.module, "it is not a field"))
    value, _, mask = words[0].partition("/")
    if not draft.place.mark:
        raise NotSayableError(f"--mark {words[0]}", "marks are set behind this hook")
    if mask and values.number(mask, 0xFFFFFFFF) != 0xFFFFFFFF:
        raise NotSayableError(f"--mark {words[0]}", "a mark is asked as a whole")
    draft.ask("meta.mark", IntervalSet.of(values.number(value, 0xFFFFFFFF)), negated)


def _address_type(side: str) -> Apply:
    def apply(draft: Draft, words: list[str], negated: bool) -> None:
        place, found = draft.place, IntervalSet()
        for word in words[0].split(","):
            if word == "MULTICAST":
                found |= MULTICAST[place.family]
            elif word == "LOCAL" and place.local is not None:
                found |= place.local
            elif word == "LOCAL":
                raise NotSayableError(
                    f"--{side}-type {word}",
                    "which addresses are this host's is not in the file",
                    "say so: --local ADDRESS",
                )
            else:
                raise NotSayableError(f"--{side}-type {word}", "routes are not asked")
        draft.ask(place.address(side), found, negated)

    return apply


MULTICAST = {
    4: IntervalSet.of((0xE0000000, 0xEFFFFFFF)),
    6: IntervalSet.of((0xFF << 120, (1 << 128) - 1)),
}


def _limit(draft: Draft, words: list[str], negated: bool) -> None:
    if negated:
        raise NotSayableError("! --limit", "a rule matches while tokens are left, never when none is")
    if draft.limit is not None:
        raise NotSayableError("--limit", "a rule has one limit")
    draft.limit = Limit(values.rate(words[0]), DEFAULT_BURST)


def _burst(draft: Draft, words: list[str], negated: bool) -> None:
    if draft.limit is None:
        raise BadValueError("--limit-burst", "stands before `--limit`")
    draft.limit = Limit(draft.limit.rate, values.number(words[0], 10_000))


def _match_set(draft: Draft, words: list[str], negated: bool) -> None:
    name, sides = words
    found = draft.place.sets.get(name)
    if found is None:
        raise MissingError("set", name, "give the output of `ipset save` as another file")
    assert isinstance(found, ipsets.AddressSet)
    boxes = found.boxes(sides.split(","), draft.place.family)
    if not negated:
        draft.alternatives(boxes)
    elif len(found.kinds) == 1 and len(boxes) <= 1:
        for field, inside in (boxes[0] if boxes else {}).items():
            draft.ask(field, inside, True)
    else:
        raise NotSayableError(
            f"! --match-set {name} {sides}", "the opposite of several conditions is many rules"
        )


def _comment(draft: Draft, words: list[str], negated: bool) -> None:
    draft.comment = " · ".join(c for c in (draft.comment, " ".join(words[0].split())) if c)


def _states(draft: Draft, words: list[str], negated: bool) -> None:
    draft.states = flows.asked(words[0], negated)
    place = draft.place
    if draft.states >= flows.NEW and not place.sane:
        draft.alternatives(flows.new(place.family))
    elif draft.states == flows.INVALID:
        draft.alternatives(flows.invalid(place.family))


OPTIONS: dict[str, Option] = {
    "--ctstate": Option(1, _states),
    "--state": Option(1, _states),
    "-p": Option(1, _protocol),
    "-s": Option(1, _address("src")),
    "-d": Option(1, _address("dst")),
    "-i": Option(1, _interface("-i")),
    "-o": Option(1, _interface("-o")),
    "-f": Option(0, apply_fragment),
    "--sport": Option(1, _port("th.sport")),
    "--dport": Option(1, _port("th.dport")),
    "--sports": Option(1, _ports("th.sport")),
    "--dports": Option(1, _ports("th.dport")),
    "--ports": Option(1, _either_port),
    "--tcp-flags": Option(2, _tcp_flags),
    "--syn": Option(0, _syn),
    "--icmp-type": Option(1, _icmp(1, "icmp")),
    "--icmpv6-type": Option(1, _icmp(58, "icmp6")),
    "--src-range": Option(1, _range("src")),
    "--dst-range": Option(1, _range("dst")),
    "--match-set": Option(2, _match_set),
    "--comment": Option(1, _comment),
    "--length": Option(1, _quantity("ip.length", "range")),
    "--ttl-eq": Option(1, _quantity("ip.ttl", "eq")),
    "--ttl-lt": Option(1, _quantity("ip.ttl", "lt")),
    "--ttl-gt": Option(1, _quantity("ip.ttl", "gt")),
    "--hl-eq": Option(1, _quantity("ip.ttl", "eq")),
    "--hl-lt": Option(1, _quantity("ip.ttl", "lt")),
    "--hl-gt": Option(1, _quantity("ip.ttl", "gt")),
    "--dscp": Option(1, _quantity("ip.dscp", "eq")),
    "--dscp-class": Option(1, _dscp_class),
    "--mac-source": Option(1, _mac),
    "--mark": Option(1, _mark),
    "--src-type": Option(1, _address_type("src")),
    "--dst-type": Option(1, _address_type("dst")),
    "--limit": Option(1, _limit),
    "--limit-burst": Option(1, _burst),
}
# Options whose long form iptables-save does not write, but people do.
SPELT = {
    "--protocol": "-p", "--source": "-s", "--destination": "-d", "--in-interface": "-i",
    "--out-interface": "-o", "--fragment": "-f", "--source-port": "--sport", "--destination-port": "--dport",
    "--source-ports": "--sports", "--destination-ports": "--dports", "--src": "-s", "--dst": "-d",
}  # fmt: skip
# Modules whose match asks for the transport header even without an option.
TRANSPORT = frozenset({"tcp", "udp", "sctp", "icmp", "icmp6", "multiport"})
