"""Random policies as source text, always valid: the parser and the checker are inside the law.

Addresses, ports and types come from small pools with values that neighbour, contain and touch each other, so
that rules overlap and shadow. Every choice shrinks towards the shorter text. A rule is drawn for one family,
or for both, since a rule that no family can satisfy is an error of the language.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st

from lockgate.compiler.codes import NAMES, has_order
from lockgate.compiler.policy.model import Prefixes
from lockgate.stdlib_bpf import fields, hooks
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state.fragments import MODES

PLACES = ("xdp", "tc ingress", "tc egress", "connect")
V4 = tuple(
    int(ipaddress.IPv4Address(a))
    for a in ("10.0.0.1", "10.0.0.0", "10.0.1.255", "192.168.1.1", "255.255.255.255", "0.0.0.0")
)
V6 = tuple(
    int(ipaddress.IPv6Address(a))
    for a in ("2001:db8::1", "2001:db8::", "2001:db8:0:1::", "fe80::1", "ffff:" * 7 + "ffff", "::1")
)
LENGTHS = {4: (32, 24, 8, 31, 23, 1, 0), 6: (128, 64, 32, 127, 96, 1, 0)}
PORTS = (80, 22, 443, 53, 1023, 1024, 0, 65535, 81, 79)
FLAGS = ("syn", "ack", "fin", "rst", "psh", "urg", "ece", "cwr")
TYPES = {
    "icmp": ("echo-request", "echo-reply", "3", "0", "255"),
    "icmp6": ("echo-request", "neighbour-solicit", "1", "0", "255"),
}
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00")
LIVE = {"ban": 64, "vip": 32}
MANY_PORTS = ", ".join(str(1000 + 7 * i) for i in range(40))  # enough that a table pays
DEVICES = ("eth1", "eth2", "ids0")
PROXIES = ("side", "away")
CGROUPS = ("/shop", "/shop/web", "/shop/web/a", "/other")
DECLARED = ('proxy side = port 15001 in cgroup "/shop/web"', 'proxy away = port 15002 in cgroup "/away"')
MARKS = ("1", "0x10/0xff", "0xffffffff", "0/0xf0", "0x80000000/0x80000001")
DSCPS = ("ef", "cs1", "af41", "0", "63", "0x2a")
STRUCTURES = (
    None,
    frozenset({"inline"}),
    frozenset({"hash", "lpm_trie"}),
    frozenset({"lpm_trie"}),
    frozenset({"range_index"}),
    frozenset({"tag_index", "tag_tree"}),
    frozenset({"rule_tree"}),
    frozenset({"rule_tree", "hash"}),
    frozenset({"hash", "range_index"}),
    frozenset({"cuckoo", "perfect6"}),
    frozenset({"prefix_index", "range_tree"}),
)


@dataclass(frozen=True)
class Text:
    """A policy: `source`, the `files` it names, contents of its dynamic sets, tables allowed."""

    source: str
    place: str
    live: dict[str, Prefixes] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    structures: frozenset[str] | None = None


def prefix(draw: st.DrawFn, family: int, lengths: tuple[int, ...] | None = None) -> str:
    """One literal: a host or a prefix with no bits below its mask."""
    width = 32 if family == 4 else 128
    address = draw(st.sampled_from(V4 if family == 4 else V6))
    length = draw(st.sampled_from(lengths or LENGTHS[family]))
    address = address >> (width - length) << (width - length)
    text = str(ipaddress.IPv4Address(address) if family == 4 else ipaddress.IPv6Address(address))
    return text if length == width else f"{text}/{length}"


def many(draw: st.DrawFn, family: int) -> list[str]:
    """A few dozen distinct hosts and small prefixes: enough that a table pays."""
    step, count = draw(st.sampled_from((2, 3, 256))), draw(st.sampled_from((20, 40, 140)))
    if family == 4:
        return [f"10.{(i * step) >> 16 & 255}.{(i * step) >> 8 & 255}.{i * step & 255}" for i in range(count)]
    return [f"2001:db8::{i * step:x}:0/112" if step == 3 else f"2001:db8::{i * step:x}" for i in range(count)]


@dataclass
class Names:
    """Declarations so far. `networks`: name → families it speaks of; `fixed`: family → names of networks that
    hold some addresses of it, no dynamic set, and far from all."""

    networks: dict[str, frozenset[int]] = field(default_factory=dict)
    fixed: dict[int, list[str]] = field(default_factory=lambda: {4: [], 6: []})
    ports: list[str] = field(default_factory=list)
    services: dict[str, str] = field(default_factory=dict)  # name → "tcp", "ports" or an ICMP kind
    lines: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)


def network(draw: st.DrawFn, names: Names, family: int, depth: int = 2) -> str:
    """An expression that speaks of `family` (and perhaps of the other one too), as one term."""

    def inner(spoken: int) -> str:
        return network(draw, names, spoken, depth - 1)

    kinds = ["literal", "literal", "name", "name", "any"] + (
        ["set", "sum", "difference", "not"] if depth else []
    )
    match draw(st.sampled_from(kinds)):
        case "any":
            return "any"
        case "name":
            known = [name for name, spoken in names.networks.items() if family in spoken]
            return draw(st.sampled_from(known)) if known else prefix(draw, family)
        case "set":
            others = [inner(draw(st.sampled_from((4, 6)))) for _ in range(draw(st.integers(0, 2)))]
            return "{ " + ", ".join([inner(family), *others]) + " }"
        case "sum":
            return f"({inner(family)} + {inner(draw(st.sampled_from((4, 6))))})"
        case "difference":
            return f"({inner(family)} - {inner(draw(st.sampled_from((4, 6))))})"
        case "not":
            return f"not {inner(family)}"
    return prefix(draw, family)


def ports(draw: st.DrawFn, names: Names) -> str:
    """A port, range, set, name, sum or difference of ports."""
    match draw(st.sampled_from(("one", "one", "range", "set", "name", "many", "sum", "without"))):
        case "sum":
            return f"{draw(st.sampled_from(PORTS))} + {ports(draw, names)}"
        case "without":
            return f"any - {draw(st.sampled_from(PORTS))}"
        case "range":
            low, high = sorted((draw(st.sampled_from(PORTS)), draw(st.sampled_from(PORTS))))
            return f"{low}-{high}"
        case "set":
            found = [str(draw(st.sampled_from(PORTS))) for _ in range(draw(st.integers(1, 4)))]
            return "{ " + ", ".join([*found, "8000-8009"]) + " }"
        case "name" if names.ports:
            return draw(st.sampled_from(names.ports))
        case "many":
            return "{ " + ", ".join(str(i * 7) for i in range(draw(st.sampled_from((5, 40, 140))))) + " }"
    return str(draw(st.sampled_from(PORTS)))


def declarations(draw: st.DrawFn, at_connect: bool, wants_list: bool, with_tables: bool) -> Names:
    """Names for the rules to use. `wants_list`: the first is a long list of IPv4 addresses; `with_tables`:
    lists may become tables, so that conditions on several are no burden to the kernel's verifier."""
    names = Names()
    for i in range(draw(st.integers(1 if wants_list else 0, 3))):
        family = draw(st.sampled_from((4, 6)))
        kind = draw(st.sampled_from(("expression", "list", "file")))
        if wants_list and i == 0:
            family, kind = 4, "list"
        if kind == "expression":
            text = network(draw, names, family)
        elif kind == "list":
            text = "{ " + ", ".join(many(draw, family)) + " }"
        else:
            text = f'file "list{i}.txt"'
            names.files[f"list{i}.txt"] = "# prefixes\n" + "\n".join(many(draw, family)) + "\n"
        names.lines.append(f"network net{i} = {text}")
        # Only `family` is sure: what else an expression speaks of, it may lose again in a difference.
        names.networks[f"net{i}"] = frozenset({family})
        if kind != "expression" and with_tables:
            names.fixed[family].append(f"net{i}")
    if draw(st.booleans()):
        few = "{ 10.0.0.2, 10.0.0.4, 2001:db8::3, 2001:db8::/127 }"
        hosts = ", ".join(prefix(draw, n, lengths=(width,)) for n, width in ((4, 32), (6, 128)))
        names.lines.append(f"network mixed = {few} - {prefix(draw, 4, lengths=(32, 31))} + {{ {hosts} }}")
        names.networks["mixed"] = frozenset({4, 6})
        for known in names.fixed.values():
            known.append("mixed")
    for live, size in LIVE.items():
        if draw(st.integers(0, 2)) == 2:
            names.lines.append(f"network {live} = dynamic max {size}")
            names.networks[live] = frozenset({4, 6})
    if draw(st.booleans()):
        names.lines.append(f"ports some-ports = {ports(draw, names)}")
        names.ports.append("some-ports")
    if draw(st.booleans()):
        names.lines.append(f"service web = tcp port {ports(draw, names)}, udp port {ports(draw, names)}")
        names.services["web"] = "ports"
        names.lines.append(f"service ssh = tcp port {ports(draw, names)}")
        names.services["ssh"] = "tcp"
    if not at_connect and draw(st.booleans()):
        kind = draw(st.sampled_from(("icmp", "icmp6")))
        names.lines.append(f"service ping = {kind} type {draw(st.sampled_from(TYPES[kind]))}")
        names.services["ping"] = kind
    return names


def plain(hook: str) -> list[str]:
    """Verdicts that need nothing more to be said."""
    return sorted(hooks.ALL[hook].verdicts.keys() - {"redirect"})


def effects(draw: st.DrawFn, verdict: str, kind: str, hook: str, direction: str) -> list[str]:
    """What the rule does besides deciding."""
    record, words = hooks.ALL[hook], []
    if verdict == "redirect" and record.proxies:
        words += ["via", draw(st.sampled_from(PROXIES))]
    elif verdict in ("redirect", "mirror"):
        ways = [way for way, where in record.ways.items() if direction in where]
        ways = ways if verdict == "redirect" else [way for way in ways if way in ("egress", "ingress")]
        most = 1 if verdict == "redirect" else len(DEVICES)
        found = draw(st.lists(st.sampled_from(DEVICES), min_size=1, max_size=most, unique=True))
        quoted = ", ".join(f'"{device}"' for device in found)
        words += ["into", quoted if len(found) == 1 else f"{{ {quoted} }}"]
        words += ["as", draw(st.sampled_from(ways))] if draw(st.booleans()) else []
    if verdict == "reject" and draw(st.booleans()):
        answers = [answer for answer in record.answers if answer != "reset" or kind in ("tcp", "protocol 6")]
        words += ["with", draw(st.sampled_from(answers))]
    for option, values in (("mark", MARKS), ("dscp", DSCPS)):
        possible = option not in record.refusals and verdict not in record.ends
        if possible and (option == "mark" or kind != "arp") and draw(st.integers(0, 4)) == 4:
            words += [option, draw(st.sampled_from(values))]
    return words


def about_one_effect(draw: st.DrawFn, hook: str, direction: str) -> str:
    """A rule that says little else, so that every way and every answer has its turn."""
    record, kind = hooks.ALL[hook], draw(st.sampled_from(("tcp", "udp", "tcp, udp")))
    ways = [way for way, where in record.ways.items() if direction in where]
    device = draw(st.sampled_from(DEVICES))
    found = [f'redirect {kind} into "{device}" as {way}' for way in ways]
    if "mirror" in record.passing:
        found += [f'mirror {kind} into "{device}" as {way}' for way in ("egress", "ingress")]
    found += [f"redirect tcp via {proxy}" for proxy in PROXIES * record.proxies]
    for answer in record.answers:
        found.append(f"reject {'tcp' if answer == 'reset' else kind} with {answer}")
    return draw(st.sampled_from(found))


def rule(draw: st.DrawFn, names: Names, hook: str, direction: str, number: int) -> str:
    """One sentence."""
    at_connect = hook == "connect"
    family = draw(st.sampled_from((4, 6)))
    own_icmp = "icmp" if family == 4 else "icmp6"
    kinds = [
        "tcp",
        "udp",
        "sctp",
        "",
        "tcp, udp",
        own_icmp,
        own_icmp,
        "ip",
        f"ip{family}",
        "protocol 47",
        "protocol 6",
        f"{own_icmp}, tcp",
    ]
    kinds += [name for name, kind in names.services.items() if kind in ("tcp", "ports", own_icmp)]
    kinds += [] if at_connect else ["arp"]
    kind = draw(st.sampled_from(kinds))
    verdicts = (*sorted(hooks.ALL[hook].verdicts) * 2, *hooks.ALL[hook].passing)
    if at_connect and kind not in ("tcp", "protocol 6"):
        verdicts = tuple(verdict for verdict in verdicts if verdict != "redirect")
    words = [draw(st.sampled_from(verdicts)), kind]
    of_service = names.services.get(kind)
    with_ports = kind in ("tcp", "udp", "sctp", "tcp, udp", "protocol 6") or of_service in ("tcp", "ports")
    peers: list[str] = []
    for side in ("from", "to"):
        if side == "from" and at_connect:
            continue
        peer = []
        if kind != "arp" and draw(st.integers(0, 2)) == 2:
            peer.append(network(draw, names, family))
        if with_ports and draw(st.integers(0, 2)) == 2:
            peer.append(f"port {ports(draw, names)}")
        if peer:
            words += [side, *peer]
            peers += peer
    if kind in TYPES and not at_connect and draw(st.integers(0, 3)):
        types = [draw(st.sampled_from(TYPES[kind])) for _ in range(draw(st.integers(1, 2)))]
        words.append("type { " + ", ".join(types) + " }" if len(types) > 1 else f"type {types[0]}")
    if (
        (kind in ("tcp", "protocol 6") or of_service == "tcp")
        and not at_connect
        and draw(st.integers(0, 2)) == 2
    ):
        words.append(f"flags {flags(draw)}")
    if draw(st.integers(0, 2)) == 2:
        required = dict(REQUIRED[of_service or kind])
        if any(not peer.startswith("port ") for peer in peers):
            required["eth.type"] = IntervalSet.of(fields.ETH_P_IP if family == 4 else fields.ETH_P_IPV6)
        if of_service in ("tcp", "ports") or any(peer.startswith("port ") for peer in peers):
            required |= {"th.sport": IntervalSet.full(16), "th.dport": IntervalSet.full(16)}
        words += conditions(draw, names, hook, required)
    if draw(st.integers(0, 3)) == 3:
        words.append(f"count {draw(st.sampled_from(('hits', 'misses')))}")
    if draw(st.integers(0, 5)) == 5:
        words.append(draw(st.sampled_from(("log", "log sample 3"))))
    if draw(st.integers(0, 4)) == 4:
        words.append(limit(draw, at_connect, keyed=kind != "arp"))
    words += effects(draw, words[0], kind, hook, direction)
    label = f"r{number}: " if draw(st.booleans()) else ""
    return label + " ".join(word for word in words if word)


def limit(draw: st.DrawFn, at_connect: bool, keyed: bool) -> str:
    """An option that a few packets exhaust."""
    rates = ["1/s", "2/s", "3/m", "10/h", "5pps"] + ([] if at_connect else ["800bps", "10kbps"])
    words = ["limit", draw(st.sampled_from(rates))]
    if draw(st.booleans()):
        words += ["burst", draw(st.sampled_from(("1", "3", "100")))]
    keys = ["destination", "destination/24,48", "destination/0"]
    keys += [] if at_connect else ["source", "source/24,56", "flow", "flow/8,32"]
    if keyed and draw(st.booleans()):
        words += ["per", draw(st.sampled_from(keys))]
    return " ".join(words)


def _only(eth_type: int | None = None, *protocols: int) -> dict[str, IntervalSet]:
    found = {} if eth_type is None else {"eth.type": IntervalSet.of(eth_type)}
    return found | ({"ip.proto": IntervalSet.of(*protocols)} if protocols else {})


# What the words of a rule's traffic, or the kind of a service, require.
REQUIRED: dict[str, dict[str, IntervalSet]] = {
    "": {},
    "arp": _only(fields.ETH_P_ARP),
    "ip": {"eth.type": fields.IP},
    "ip4": _only(fields.ETH_P_IP),
    "ip6": _only(fields.ETH_P_IPV6),
    "tcp": _only(None, 6),
    "udp": _only(None, 17),
    "sctp": _only(None, 132),
    "tcp, udp": _only(None, 6, 17),
    "ports": _only(None, 6, 17),
    "protocol 6": _only(None, 6),
    "protocol 47": _only(None, 47),
    "icmp": _only(fields.ETH_P_IP, 1),
    "icmp6": _only(fields.ETH_P_IPV6, 58),
    "icmp, tcp": _only(None, 1, 6),
    "icmp6, tcp": _only(None, 58, 6),
}
SURE = frozenset(
    {"meta.length", "eth.src", "eth.dst", "sock.uid", "sock.cgroup", "meta.mark"}
)  # every packet has them


def conditions(draw: st.DrawFn, names: Names, hook: str, required: Mapping[str, IntervalSet]) -> list[str]:
    """`if` and `vlan`, of fields that packets of the rule can have: others are errors of the language."""
    settled = fields.guarded(required) or {}  # what the rule asks already
    rows = [row for row in fields.ALL if hook in row.hooks and row.name not in settled]
    askable = [row for row in rows if fields.guarded(required, {row.name: row.full}) is not None]
    words = []
    if hook != "connect" and draw(st.integers(0, 3)) == 3:
        words.append(f"vlan {values(draw, names, fields.lookup('vlan.id'))}")
        askable = [row for row in askable if row.name != "vlan.id"]
    if not words or draw(st.booleans()):
        asked = [draw(st.sampled_from(askable)) for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3))))]
        joined = " or ".join(comparison(draw, names, row) for row in asked)
        # Another field that is always there: what is joined by `and` must not exclude each other.
        others = [row for row in askable if row.name in SURE and row not in asked]
        if others and draw(st.integers(0, 2)) == 2:
            joined = f"({joined}) and not {comparison(draw, names, draw(st.sampled_from(others)))}"
        words.append(f"if {joined}")
    return words


def comparison(draw: st.DrawFn, names: Names, row: fields.Field) -> str:
    """One test that some packets pass and others do not."""
    if row.width_bits == 1:
        return draw(st.sampled_from((row.name, f"not {row.name}", f"{row.name} == 1", f"{row.name} == 0")))
    not_ = "not " if draw(st.integers(0, 3)) == 3 else ""
    if has_order(row) and draw(st.booleans()):
        low, high = row.possible.ranges[0]
        middle = draw(
            st.sampled_from((low + 1, low + 2, (low + high) // 2, high - 1, min(high - 1, low + 60)))
        )
        return f"{not_}{row.name} {draw(st.sampled_from(('<', '<=', '>', '>=')))} {middle}"
    if draw(st.booleans()):
        return f"{not_}{row.name} {draw(st.sampled_from(('==', '!=')))} {value(draw, names, row)}"
    return f"{not_}{row.name} in {values(draw, names, row)}"


def values(draw: st.DrawFn, names: Names, row: fields.Field) -> str:
    """A set of values, at most half of all."""
    found = [value(draw, names, row) for _ in range(draw(st.integers(1, 3 if row.width_bits > 2 else 1)))]
    low, high = row.possible.ranges[0]
    if row.style == "int" and row.width_bits > 6 and draw(st.booleans()):
        found.append(f"{low + 1}-{(low + high) // 2}")
    return found[0] if len(found) == 1 and draw(st.booleans()) else "{ " + ", ".join(found) + " }"


def value(draw: st.DrawFn, names: Names, row: fields.Field) -> str:
    """One value: of the pools that packets are made from, a name, or at an end of what is possible."""
    low, high = row.possible.ranges[0]
    words = sorted(NAMES.get(row.name, {}))
    match row.style:
        case "mac":
            return draw(st.sampled_from(MACS))
        case "device":
            return f'"{draw(st.sampled_from(DEVICES))}"'
        case "cgroup":
            return f'"{draw(st.sampled_from(CGROUPS))}"'
        case "ip4" | "ip6":
            family = 4 if row.style == "ip4" else 6
            # Tests of ARP's addresses stay in the program: no long lists there.
            known = [name for name in names.fixed[family] if not row.optional or name == "mixed"]
            if known and draw(st.booleans()):
                return draw(st.sampled_from(known))
            return prefix(draw, family, lengths=LENGTHS[family][:-2])  # never half of all
    if words and draw(st.booleans()):
        return draw(st.sampled_from(words))
    known = {"vlan.id": (1, 100, 7), "sock.uid": (0, 1000, 65534), "meta.length": (60, 64, 54)}
    number = draw(
        st.sampled_from((*known.get(row.name, ()), low, low + 1, (low + high) // 2, high - 1, high))
    )
    return f"0x{number:x}" if draw(st.integers(0, 4)) == 4 else str(number)


def flags(draw: st.DrawFn) -> str:
    """A test of flags: any of a list, or a value under a mask."""
    mask = draw(st.lists(st.sampled_from(FLAGS), min_size=1, max_size=4, unique=True))
    if draw(st.booleans()):
        return ", ".join(mask)
    value = mask[: draw(st.integers(1, len(mask)))]
    return f"{', '.join(value)}/{', '.join(mask)}"


def contents(draw: st.DrawFn) -> Prefixes:
    """What a dynamic set holds: few prefixes, so that it always fits."""
    found = [
        ipaddress.ip_network(prefix(draw, draw(st.sampled_from((4, 6)))))
        for _ in range(draw(st.integers(0, 4)))
    ]
    ranges: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
    for net in found:
        ranges[net.version].append((int(net.network_address), int(net.broadcast_address)))
    return Prefixes(IntervalSet.from_ranges(ranges[4]), IntervalSet.from_ranges(ranges[6]))


@st.composite
def policies(
    draw: st.DrawFn,
    place: str,
    max_rules: int = 15,
    about: Sequence[fields.Field] = (),
    allowed: Sequence[frozenset[str] | None] = STRUCTURES,
) -> Text:
    """A policy with one rule list at a place of PLACES. `about`: fields that surely have a rule; `allowed`:
    of STRUCTURES, one of which holds."""
    hook, _, direction = place.partition(" ")
    structures = draw(st.sampled_from(allowed))
    wants_list = structures is not None and bool(structures & {"range_index", "cuckoo", "prefix_index"})
    names = declarations(draw, hook == "connect", wants_list, structures != frozenset({"inline"}))
    verdicts = plain(hook)
    on = 'for cgroup "/shop"' if hook == "connect" else 'on "eth0"'
    count = draw(st.integers(1, max_rules))
    rules = ["  " + rule(draw, names, hook, direction, i) for i in range(count)]
    for _ in range(draw(st.sampled_from((0, 1, 3)))):
        at = draw(st.integers(0, len(rules)))
        rules.insert(at, "  " + about_one_effect(draw, hook, direction))
    for row in about:
        verdict = draw(st.sampled_from(verdicts))
        rules.insert(draw(st.integers(0, len(rules))), f"  {verdict} if {comparison(draw, names, row)}")
    if structures is not None and "hash" in structures:
        rules.insert(0, f"  {draw(st.sampled_from(verdicts))} tcp, udp to port {{ {MANY_PORTS} }}")
    if wants_list:
        rules.insert(0, f"  {draw(st.sampled_from(verdicts))} tcp, udp to net0")
    if direction:
        rules = [f"  {direction} {{", *rules, "  }"]
    lines = [
        *names.lines,
        *DECLARED * (hook == "connect"),
        f"policy p at {hook} {on} {{",
        *([] if hook == "connect" else [f"  fragments {draw(st.sampled_from(MODES))}"]),
        f"  default {draw(st.sampled_from(verdicts))}",
        *rules,
        "}",
    ]
    return Text(
        "\n".join(lines) + "\n",
        place,
        {live: contents(draw) for live in LIVE},
        names.files,
        structures,
    )
