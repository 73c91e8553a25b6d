"""AdminNetworkPolicy, BaselineAdminNetworkPolicy and ClusterNetworkPolicy: ordered rules in tiers before
and behind NetworkPolicy.

Rules are asked in their order, policies by priority; what none decides goes to the next tier, and is
allowed at last. Source: network-policy-api, apis/v1alpha1 and apis/v1alpha2.
"""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.stdlib_bpf.labels import Selector

from ..documents import Node, WrongShapeError, listed
from ..endpoints import Chosen, EndpointPolicy, EndpointRule, Net, Prefix, any_of, slug
from . import selecting
from .cluster import Cluster, text_of
from .selecting import Port, RefusedError

ACTIONS = {"Allow": "allow", "Accept": "allow", "Deny": "drop", "Pass": "pass"}
PEERS = {"ingress": "from", "egress": "to"}


@dataclass(frozen=True)
class Form:
    """What tells the kinds apart. `actions`: those of the kind; `tier`: ours, "" where the object says it."""

    actions: tuple[str, ...]
    tier: str


ADMIN, BASELINE = "admin", "baseline"
FORMS = {
    "AdminNetworkPolicy": Form(("Allow", "Deny", "Pass"), ADMIN),
    "BaselineAdminNetworkPolicy": Form(("Allow", "Deny"), BASELINE),
    "ClusterNetworkPolicy": Form(("Accept", "Deny", "Pass"), ""),
}
TIERS = {"Admin": ADMIN, "Baseline": BASELINE}


def policy(node: Node, name: str, cluster: Cluster) -> EndpointPolicy:
    """The policy of an object. WrongShapeError, RefusedError."""
    form, spec = FORMS[node.value["kind"]], node.get("spec")
    if spec is None:
        raise WrongShapeError(node, "must have `spec`")
    subject = spec.get("subject")
    if subject is None:
        raise WrongShapeError(spec, "must have `subject`")
    chosen = _pods(subject, cluster)
    tier = form.tier
    if not tier:
        word = text_of(spec, "tier")
        if word not in TIERS:
            raise WrongShapeError(spec, "must have a tier `Admin` or `Baseline`")
        tier = TIERS[word]
    attributes = [("tier", tier)]
    priority = spec.get("priority")
    if priority is not None:
        attributes.append(("order", str(priority.number)))
    elif node.value["kind"] != "BaselineAdminNetworkPolicy":
        raise WrongShapeError(spec, "must have `priority`")
    blocks = []
    labels: set[str] = set()
    for direction in PEERS:
        rules = [
            made
            for rule in listed(spec.get(direction))
            for made in _rules(rule, direction, form, chosen, cluster, labels)
        ]
        if rules:
            blocks.append((direction, tuple(rules)))
    blocks = blocks or [("ingress", ())]  # decides nothing, like a block without rules in such a tier
    return EndpointPolicy(name, chosen, tuple(attributes), tuple(blocks), span=node.span)


def _pods(node: Node, cluster: Cluster) -> Selector:
    """`namespaces` or `pods` of a subject or peer."""
    namespaces, pods = node.get("namespaces"), node.get("pods")
    if (namespaces is None) == (pods is None):
        raise WrongShapeError(node, "must have either `namespaces` or `pods`")
    if pods is None:
        return selecting.selector(None, namespaces, cluster)
    return selecting.selector(pods.get("podSelector"), pods.get("namespaceSelector"), cluster)


def _rules(
    rule: Node, direction: str, form: Form, subject: Selector, cluster: Cluster, labels: set[str]
) -> list[EndpointRule]:
    action = text_of(rule, "action")
    if action not in form.actions:
        raise WrongShapeError(rule, f"must have an action of {', '.join(form.actions)}")
    peers = listed(rule.get(PEERS[direction]))
    if not peers:
        raise WrongShapeError(rule, f"must have a peer in `{PEERS[direction]}`")
    nets: list[Net] = [net for peer in peers for net in _peer(peer, direction, cluster)]
    ports = [_port(port) for port in listed(rule.get("ports"))]
    ports += [_protocol(one) for one in listed(rule.get("protocols"))]
    chosen = [net.selector for net in nets if isinstance(net, Chosen)]
    targets = [subject] if direction == "ingress" else chosen if len(chosen) == len(nets) else None
    numbered = selecting.resolved(ports, targets, cluster) if ports else None
    net = any_of(nets)
    made = []
    called = rule.get("name")
    for kinds, texts in selecting.sentences(numbered):
        label = "" if called is None or not called.text else _free(slug(called.text.lower()), labels)
        source, target = (net, None) if direction == "ingress" else (None, net)
        comment = f"line {rule.span.line}"
        made.append(
            EndpointRule(ACTIONS[action], kinds, source, target, (), texts, (), False, label, comment)
        )
    return made


def _free(wish: str, labels: set[str]) -> str:
    name, number = wish, 2
    while name in labels or name in ("default", "malformed", "fragments"):
        name, number = f"{wish}-{number}", number + 1
    labels.add(name)
    return name


def _peer(peer: Node, direction: str, cluster: Cluster) -> list[Net]:
    names = [
        key for key in ("namespaces", "pods", "nodes", "networks", "domainNames") if peer.get(key) is not None
    ]
    if len(names) != 1:
        raise WrongShapeError(peer, "must have exactly one kind of peer")
    found = peer.get(names[0])
    assert found is not None
    if names[0] in ("namespaces", "pods"):
        return [Chosen(_pods(peer, cluster))]
    if direction == "ingress":
        raise WrongShapeError(found, "is a peer of egress only")
    if names[0] == "networks":
        return [selecting.network(item) for item in found.items]
    if names[0] == "nodes" and not selecting.tests(found, cluster, False):
        return [Prefix("nodes")]
    if names[0] == "nodes":
        raise RefusedError(
            found, "nodes", "as peers, nodes are not told apart by labels", "write their addresses"
        )
    raise RefusedError(found, "domainNames", "packets carry addresses, not names")


def _port(node: Node) -> Port:
    """An entry of `ports` of v1alpha1."""
    number, named, between = node.get("portNumber"), node.get("namedPort"), node.get("portRange")
    if named is not None:
        return Port(named, "", name=named.text)
    if number is not None:
        port = selecting.number(number.get("port"), number)
        return Port(node, selecting.protocol(number.get("protocol")), str(port))
    if between is not None:
        low, high = (selecting.number(between.get(key), between) for key in ("start", "end"))
        return Port(
            node, selecting.protocol(between.get("protocol")), selecting.range_text(low, high, between)
        )
    raise WrongShapeError(node, "must have a port")


def _protocol(node: Node) -> Port:
    """An entry of `protocols` of v1alpha2."""
    named = node.get("destinationNamedPort")
    if named is not None:
        return Port(named, "", name=named.text)
    for word in selecting.PROTOCOLS.values():
        if word not in node.mapping:
            continue
        port = node.at(word, "destinationPort")
        if port is None:
            return Port(node, word)
        between = port.get("range")
        if between is None:
            return Port(node, word, str(selecting.number(port.get("number"), port)))
        low, high = (selecting.number(between.get(key), between) for key in ("start", "end"))
        return Port(node, word, selecting.range_text(low, high, between))
    raise WrongShapeError(node, "must have one protocol")
