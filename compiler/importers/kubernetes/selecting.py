"""Label selectors, blocks of addresses and ports of the APIs, in our words.

A selector is the conjunction of its labels and expressions; NotIn and DoesNotExist take objects without the
key, too (meta/v1 LabelSelector). A block speaks of its own family only. Knows these parts; must never know
what a policy does with them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from lockgate.stdlib_bpf.labels import NAME, LabelTest, Selector

from ... import errors
from ...diagnostics import Sink
from ...source import Span
from ..documents import Node, WrongShapeError, listed
from ..endpoints import Less, Net, Prefix
from .cluster import Cluster

METADATA_NAME = "kubernetes.io/metadata.name"  # the label that the API server gives to every namespace
PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}
OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


class RefusedError(Exception):
    """What cannot be said exactly: (where, what, why, what to write instead)."""

    def __init__(self, node: Node, what: str, why: str, instead: str = "") -> None:
        self.node, self.what, self.why, self.instead = node, what, why, instead
        super().__init__(what)


def tests(node: Node | None, cluster: Cluster, of_namespace: bool) -> tuple[LabelTest, ...]:
    """What a label selector asks; nothing of an empty one."""
    if node is None:
        return ()
    found: list[LabelTest] = []
    labels = node.get("matchLabels")
    for key, value in ({} if labels is None else labels.texts()).items():
        found.append(_test(node, key, (value,), False, cluster, of_namespace))
    for expression in listed(node.get("matchExpressions")):
        key_node, operator = expression.get("key"), expression.get("operator")
        if key_node is None or operator is None or operator.value not in OPERATORS:
            raise WrongShapeError(operator or expression, f"must have an operator of {', '.join(OPERATORS)}")
        values = expression.get("values")
        words = tuple(sorted(set([] if values is None else values.words())))
        if (operator.value in ("In", "NotIn")) != bool(words):
            raise WrongShapeError(expression, f"of `{operator.value}` has the wrong number of values")
        negated = operator.value in ("NotIn", "DoesNotExist")
        found.append(_test(expression, key_node.text, words, negated, cluster, of_namespace))
    return tuple(dict.fromkeys(found))


def _test(
    node: Node, key: str, values: tuple[str, ...], negated: bool, cluster: Cluster, of_namespace: bool
) -> LabelTest:
    if of_namespace and key == METADATA_NAME:
        key = NAME
    elif of_namespace and key == NAME:
        spaces = cluster.namespaces
        if not spaces or any(labels.get(NAME) != name for name, labels in spaces.items()):
            raise RefusedError(
                node,
                "name",
                "here, `name` is the namespace's own name, and not every namespace has it as a label",
                f"ask for `{METADATA_NAME}`",
            )
    return LabelTest(key, values, negated, of_namespace)


def selector(pods: Node | None, namespaces: Node | None, cluster: Cluster, namespace: str = "") -> Selector:
    """Workloads by their own labels and those of their namespace, or those of one `namespace`."""
    own = tests(pods, cluster, False)
    theirs = (LabelTest(NAME, (namespace,), False, True),) if namespace else tests(namespaces, cluster, True)
    return Selector(tests=own + theirs)


def block(node: Node) -> Net:
    """`ipBlock`: a network, less others in it."""
    cidr = node.get("cidr")
    if cidr is None:
        raise WrongShapeError(node, "must have `cidr`")
    base = network(cidr)
    taken = [network(item) for item in listed(node.get("except"))]
    whole = ipaddress.ip_network(base.text)
    for inner, item in zip(taken, listed(node.get("except")), strict=True):
        found = ipaddress.ip_network(inner.text)
        if found.version != whole.version or not found.subnet_of(whole):  # type: ignore[arg-type]
            raise WrongShapeError(item, f"`{inner.text}` lies outside of `{base.text}`")
    return Less(base, tuple(taken)) if taken else base


def network(node: Node) -> Prefix:
    """An address block; bits below its mask are nothing, as in Go's ParseCIDR."""
    text = node.text
    try:
        if "/" not in text:
            raise ValueError
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise WrongShapeError(node, f"`{text}` is no address block") from None
    if found.version == 6 and found.network_address.ipv4_mapped is not None and found.prefixlen >= 96:
        raise WrongShapeError(node, f"`{text}` is an IPv4 block in the form of IPv6")
    return Prefix(str(found.network_address if found.prefixlen == found.max_prefixlen else found))


@dataclass(frozen=True)
class Port:
    """`protocol` in our words; `text`: a port or range, "" for all of the protocol; `name`: of a named port
    that is yet to be looked up, whose `protocol` is "" where any will do."""

    node: Node
    protocol: str
    text: str = ""
    name: str = ""


def protocol(node: Node | None) -> str:
    """TCP where it is not written."""
    if node is None:
        return "tcp"
    if node.value not in PROTOCOLS:
        raise WrongShapeError(node, f"must be one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[node.value]


def number(node: Node | None, outer: Node) -> int:
    """A port number."""
    if node is None:
        raise WrongShapeError(outer, "must have a port")
    if not 1 <= node.number <= 65535:
        raise WrongShapeError(node, "must be between 1 and 65535")
    return node.number


def range_text(low: int, high: int, node: Node) -> str:
    """`80` or `80-90`."""
    if high < low:
        raise WrongShapeError(node, "must not be below the first port")
    return str(low) if low == high else f"{low}-{high}"


def resolved(ports: Iterable[Port], targets: Iterable[Selector] | None, cluster: Cluster) -> list[Port]:
    """Ports with the numbers of named ones. `targets`: whose ports these are, None where they may be
    anybody's. RefusedError where the pods do not agree, or are not known."""
    found: list[Port] = []
    for port in ports:
        if not port.name:
            found.append(port)
            continue
        if targets is None:
            raise RefusedError(
                port.node, port.name, "the port has this name at pods only, and any address is meant"
            )
        pods = [pod for one in targets for pod in cluster.taken(one)]
        if not pods:
            raise RefusedError(
                port.node,
                port.name,
                "which port has this name is told by pods",
                "give the pods as another file",
            )
        by_pod = [
            {(p, n) for (name, p), n in pod.ports.items() if name == port.name and port.protocol in ("", p)}
            for pod in pods
        ]
        if any(one != by_pod[0] for one in by_pod):
            raise RefusedError(
                port.node, port.name, "pods that are meant have other ports of this name, or none"
            )
        if not by_pod[0]:
            raise RefusedError(port.node, port.name, "no pod that is meant has a port of this name")
        found += [Port(port.node, p, str(n)) for p, n in sorted(by_pod[0])]
    return found


def sentences(ports: Iterable[Port] | None) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Kinds and ports of the rules that some ports need: protocols with the same ports in one rule. None: any
    traffic."""
    if ports is None:
        return [((), ())]
    texts: dict[str, list[str]] = {}
    for port in ports:
        texts.setdefault(port.protocol, []).append(port.text)
    by_ports: dict[tuple[str, ...], list[str]] = {}
    for kind, listed_ports in texts.items():
        whole = "" in listed_ports
        by_ports.setdefault(() if whole else tuple(dict.fromkeys(listed_ports)), []).append(kind)
    return [(tuple(kinds), numbers) for numbers, kinds in by_ports.items()]


def refuse(sink: Sink, error: RefusedError) -> None:
    """As a finding."""
    sink.add(errors.NotSayable(error.node.span, error.what, error.why, error.instead).diagnostic())


def wrong(sink: Sink, error: WrongShapeError) -> None:
    """As a finding."""
    span: Span = error.node.span
    sink.add(errors.BadImportValue(span, error.node.shown, error.why).diagnostic())
