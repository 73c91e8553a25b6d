"""NetworkPolicy and GlobalNetworkPolicy of Calico: what their rules ask, in our words.

A selector behind source or destination takes endpoints and network sets. What an entity asks is a
conjunction: `a - not b` is what is in both. Source: the API reference of Calico, NetworkPolicy, EntityRule.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lockgate.stdlib_bpf.labels import NAME, LabelTest, Selector
from lockgate.stdlib_bpf.sets import IntervalSet

from ..documents import Node, WrongShapeError, listed
from ..endpoints import Chosen, EndpointRule, Less, Net, Other, Prefix, any_of
from ..kubernetes import selecting
from ..kubernetes.cluster import text_of
from ..refusals import NotSayableError
from ..sentence import range_text
from . import selectors
from .selectors import Tests

ACTIONS = {"Allow": "allow", "Deny": "drop", "Pass": "pass", "Log": "continue"}
KINDS = {
    "TCP": "tcp",
    "UDP": "udp",
    "SCTP": "sctp",
    "ICMP": "icmp",
    "ICMPv6": "icmp6",
    "UDPLite": "protocol 136",
}
NUMBERS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp", "ICMP": "icmp", "ICMPv6": "icmp6", "UDPLite": "136"}
FAMILY_OF_ICMP = {4: "icmp", 6: "icmp6"}
WITH_PORTS = frozenset({"tcp", "udp", "sctp", "protocol 6", "protocol 17", "protocol 132"})
OWN_NAME = frozenset({"projectcalico.org/name", "kubernetes.io/metadata.name"})
NAMESPACE = "projectcalico.org/namespace"  # a label of each workload: its namespace's name
OF_NAMESPACE, OF_ACCOUNT = "pcns.", "pcsa."
ANY = Prefix("any")


@dataclass(frozen=True)
class NetworkSet:
    """`namespace`: "" of a global one."""

    namespace: str
    labels: dict[str, str]
    nets: tuple[Prefix, ...]


@dataclass
class Sets:
    """The network sets and namespaces of all files."""

    sets: list[NetworkSet] = field(default_factory=list)
    namespaces: dict[str, dict[str, str]] = field(default_factory=dict)


def expression(node: Node | None) -> list[Tests]:
    """A selector's alternatives."""
    return selectors.parse(None if node is None else node.text)


def endpoint_tests(alternatives: list[Tests]) -> list[Tests]:
    """Tests of an endpoint's labels, with those that Calico adds to it."""
    return [tuple(_own(test) for test in tests) for tests in alternatives]


def _own(test: LabelTest) -> LabelTest:
    key = test.key
    if key == NAMESPACE:
        return LabelTest(NAME, test.values, test.negated, True)
    if key.startswith(OF_NAMESPACE):
        inner = key.removeprefix(OF_NAMESPACE)
        return LabelTest(NAME if inner in OWN_NAME else inner, test.values, test.negated, True)
    if key.startswith((OF_ACCOUNT, "projectcalico.org/")):
        raise NotSayableError(key, "endpoints have their own labels and those of their namespace")
    return test


def workloads(own: list[Tests], spaces: list[Tests]) -> list[Selector]:
    """Workloads by their labels and those of their namespaces."""
    theirs = selectors.of_namespace(spaces, OWN_NAME, NAME)
    return [Selector(tests=a + b) for a in endpoint_tests(own) for b in theirs]


@dataclass(frozen=True)
class Reader:
    """Reads the rules of one policy. `namespace`: its own, "" of a global one."""

    namespace: str
    sets: Sets

    def rule(self, node: Node) -> EndpointRule:
        """One rule. WrongShapeError, NotSayableError, BadValueError."""
        for key in ("http", "serviceAccounts", "services"):
            if node.get(key) is not None:
                raise NotSayableError(key, "packets are judged by addresses, protocol and ports")
        action = text_of(node, "action")
        if action not in ACTIONS:
            raise WrongShapeError(node, f"must have an action of {', '.join(ACTIONS)}")
        asked: list[str] = []
        kinds = self._kinds(node, asked)
        more = self._icmp(node, kinds, asked)
        source, sports = self._entity(node.get("source"), kinds)
        target, ports = self._entity(node.get("destination"), kinds)
        more += [f"if {' and '.join(asked)}"] if asked else []
        comment = f"line {node.span.line}"
        return EndpointRule(
            ACTIONS[action], kinds, source, target, sports, ports, tuple(more), action == "Log", "", comment
        )

    def _kinds(self, node: Node, asked: list[str]) -> tuple[str, ...]:
        found: tuple[str, ...] = ()
        protocol, other, version = node.get("protocol"), node.get("notProtocol"), node.get("ipVersion")
        if protocol is not None:
            found = (_protocol(protocol, KINDS, "protocol "),)
        if other is not None:
            asked.append(f"ip.proto != {_protocol(other, NUMBERS, '')}")
        if version is not None:
            if version.value not in (4, 6):
                raise WrongShapeError(version, "must be 4 or 6")
            if found == (FAMILY_OF_ICMP[version.value],):
                pass  # it is of that family anyway
            elif found or other is not None:
                asked.append(f"eth.type == ip{version.value}")
            else:
                found = (f"ip{version.value}",)
        return found

    @staticmethod
    def _icmp(node: Node, kinds: tuple[str, ...], asked: list[str]) -> list[str]:
        field_name = kinds[0] if kinds and kinds[0] in ("icmp", "icmp6") else ""
        icmp, other = node.get("icmp"), node.get("notICMP")
        if (icmp is not None or other is not None) and not field_name:
            raise WrongShapeError(node, "asks for types of ICMP, and is not about ICMP")
        more: list[str] = []
        if icmp is not None and (kind := icmp.get("type")) is not None:
            more.append(f"type {kind.number}")
            if (code := icmp.get("code")) is not None:
                asked.append(f"{field_name}.code == {code.number}")
        if other is not None and (kind := other.get("type")) is not None:
            if other.get("code") is not None:
                raise NotSayableError("notICMP with a code", "the opposite of two conditions is two rules")
            asked.append(f"{field_name}.type != {kind.number}")
        return more

    # ---- source and destination ----

    def _entity(self, node: Node | None, kinds: tuple[str, ...]) -> tuple[Net | None, tuple[str, ...]]:
        """What a source or destination asks: a network, None for any; and ports."""
        if node is None:
            return None, ()
        for key in ("serviceAccounts", "services"):
            if node.get(key) is not None:
                raise NotSayableError(key, "endpoints are told by labels and addresses")
        parts: list[Net] = []
        if nets := [selecting.network(item) for item in cidrs(node, "nets")]:
            parts.append(any_of(nets))
        selector, spaces = node.get("selector"), node.get("namespaceSelector")
        if selector is not None or spaces is not None:
            parts.append(self._selected(selector, spaces))
        taken: list[Net] = [selecting.network(item) for item in cidrs(node, "notNets")]
        if (other := node.get("notSelector")) is not None:
            taken.append(self._selected(other, spaces))
        net: Net | None = parts[0] if parts else None
        if len(parts) > 1:
            net = Less(parts[0], (Other(parts[1]),))
        if taken:
            net = Less(ANY if net is None else net, tuple(taken))
        ports = _ports(node.get("ports"), node.get("notPorts"))
        if ports and not set(kinds) & WITH_PORTS:
            raise WrongShapeError(node, "has ports, and the rule is not of a protocol that has them")
        return net, ports

    def _selected(self, selector: Node | None, spaces: Node | None) -> Net:
        """Endpoints and network sets that selectors take."""
        own = expression(selector)
        only_global = spaces is not None and spaces.text.replace(" ", "") == "global()"
        found: list[Net] = []
        within: list[Tests] | None = None
        if not only_global:
            if spaces is not None and spaces.text.strip():
                within = expression(spaces)
            elif self.namespace:
                within = [(LabelTest("projectcalico.org/name", (self.namespace,)),)]
            found += [Chosen(one) for one in workloads(own, selectors.ALWAYS if within is None else within)]
        for one in self.sets.sets:
            if self._reaches(one, within, only_global) and selectors.holds(own, one.labels):
                found += one.nets
        if not found:
            raise NotSayableError(
                selector.text if selector is not None else "global()", "it takes nobody here"
            )
        return any_of(found)

    def _reaches(self, one: NetworkSet, within: list[Tests] | None, only_global: bool) -> bool:
        """Whether a selector with these limits looks at a network set."""
        if not one.namespace:
            return only_global or within is None
        if only_global:
            return False
        name = dict.fromkeys(OWN_NAME, one.namespace)
        return within is None or selectors.holds(
            within, {**self.sets.namespaces.get(one.namespace, {}), **name}
        )


def _protocol(node: Node, words: dict[str, str], before: str) -> str:
    if isinstance(node.value, int) and not isinstance(node.value, bool) and 0 < node.value < 256:
        return f"{before}{node.value}"
    if node.value not in words:
        raise WrongShapeError(node, f"must be one of {', '.join(words)}, or a number")
    return words[node.value]


def cidrs(node: Node, key: str) -> list[Node]:
    """Networks; a single address is one of its own."""
    found = []
    for item in listed(node.get(key)):
        text = item.text if "/" in item.text else f"{item.text}/{128 if ':' in item.text else 32}"
        found.append(Node(item.document, item.path, text))
    return found


def _ports(node: Node | None, other: Node | None) -> tuple[str, ...]:
    inside = _port_set(node)
    outside = _port_set(other)
    if inside is None and outside is None:
        return ()
    found = (IntervalSet.full(16) if inside is None else inside) - (outside or IntervalSet())
    if not found:
        raise WrongShapeError(node or other or _nothing(), "leaves no port")
    return tuple(range_text(low, high) for low, high in found)


def _nothing() -> Node:
    raise AssertionError("one of them is there")


def _port_set(node: Node | None) -> IntervalSet | None:
    ranges: list[tuple[int, int]] = []
    for item in listed(node):
        text = str(item.value)
        low, colon, high = text.partition(":")
        if not low.isdecimal() or (colon and not high.isdecimal()):
            raise NotSayableError(text, "which port has this name is told by each endpoint")
        first, last = int(low), int(high or low)
        if not 0 <= first <= last <= 65535:
            raise WrongShapeError(item, "is no range of ports")
        ranges.append((first, last))
    return IntervalSet.from_ranges(ranges) if ranges else None
