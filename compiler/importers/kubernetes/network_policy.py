"""NetworkPolicy of networking.k8s.io/v1: one object, one policy.

Rules only allow; what the selected pods may do is the union over all policies, and nothing else where one
selects them in a direction. That is a tier with `default drop`. Source: the API reference of Kubernetes,
NetworkPolicySpec.
"""

from __future__ import annotations

from lockgate.stdlib_bpf.labels import Selector

from ..documents import Node, WrongShapeError, listed
from ..endpoints import Chosen, EndpointPolicy, EndpointRule, Net, any_of
from . import selecting
from .cluster import Cluster
from .selecting import Port

TYPES = {"Ingress": "ingress", "Egress": "egress"}
PEERS = {"ingress": "from", "egress": "to"}


def policy(node: Node, name: str, namespace: str, tier: str, cluster: Cluster) -> EndpointPolicy:
    """The policy of an object. WrongShapeError, RefusedError."""
    spec = node.get("spec")
    if spec is None:
        raise WrongShapeError(node, "must have `spec`")
    subject = selecting.selector(spec.get("podSelector"), None, cluster, namespace)
    blocks = []
    for direction in _directions(spec):
        rules = [
            made
            for rule in listed(spec.get(direction))
            for made in _rules(rule, direction, subject, namespace, cluster)
        ]
        blocks.append((direction, tuple(rules)))
    attributes = (("tier", tier),) if tier else ()
    return EndpointPolicy(name, subject, (*attributes, ("default", "drop")), tuple(blocks), span=node.span)


def _directions(spec: Node) -> list[str]:
    """What the policy isolates: as written, else ingress, and egress where there are rules for it."""
    types = spec.get("policyTypes")
    if types is not None and types.items:
        for item in types.items:
            if item.value not in TYPES:
                raise WrongShapeError(item, "must be `Ingress` or `Egress`")
        return [TYPES[word] for word in TYPES if word in types.value]
    return ["ingress", "egress"] if listed(spec.get("egress")) else ["ingress"]


def _rules(
    rule: Node, direction: str, subject: Selector, namespace: str, cluster: Cluster
) -> list[EndpointRule]:
    """The rules of one entry of `ingress` or `egress`."""
    peers = listed(rule.get(PEERS[direction]))
    nets = [_peer(peer, namespace, cluster) for peer in peers]
    ports = [_port(port) for port in listed(rule.get("ports"))]
    if direction == "ingress":
        targets: list[Selector] | None = [subject]
    else:
        chosen = [net.selector for net in nets if isinstance(net, Chosen)]
        targets = chosen if chosen and len(chosen) == len(nets) else None
    numbered = selecting.resolved(ports, targets, cluster) if ports else None
    net = any_of(nets) if nets else None
    made = []
    comment = f"line {rule.span.line}"
    for kinds, texts in selecting.sentences(numbered):
        source, target = (net, None) if direction == "ingress" else (None, net)
        made.append(EndpointRule("allow", kinds, source, target, ports=texts, comment=comment))
    return made


def _peer(peer: Node, namespace: str, cluster: Cluster) -> Net:
    block, pods, namespaces = (peer.get(key) for key in ("ipBlock", "podSelector", "namespaceSelector"))
    if block is not None:
        if pods is not None or namespaces is not None:
            raise WrongShapeError(peer, "has an `ipBlock` and something else")
        return selecting.block(block)
    if pods is None and namespaces is None:
        raise WrongShapeError(peer, "must have a selector or an `ipBlock`")
    inside = "" if namespaces is not None else namespace
    return Chosen(selecting.selector(pods, namespaces, cluster, inside))


def _port(node: Node) -> Port:
    protocol, port, end = selecting.protocol(node.get("protocol")), node.get("port"), node.get("endPort")
    if port is None:
        if end is not None:
            raise WrongShapeError(end, "must stand behind `port`")
        return Port(node, protocol)
    if isinstance(port.value, str):
        if end is not None:
            raise WrongShapeError(end, "must not stand behind a named port")
        return Port(port, protocol, name=port.value)
    low = selecting.number(port, node)
    high = low if end is None else selecting.number(end, node)
    return Port(node, protocol, selecting.range_text(low, high, node if end is None else end))
