"""Which fields the kinds have that say something about packets, and in which versions they are known.

Source: the API reference of Kubernetes 1.34, and network-policy-api v1alpha1, v1alpha2 and v1beta1. A field
that is not here is reported, never read as something else. `...` stands for anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

from ..documents import Node

Shape = Mapping[str, Any] | list[Any] | EllipsisType | None  # None: a value that holds no others

SELECTOR: Shape = {"matchLabels": ..., "matchExpressions": [{"key": None, "operator": None, "values": ...}]}
_IP_BLOCK: Shape = {"cidr": None, "except": ...}
_PEER: Shape = {"podSelector": SELECTOR, "namespaceSelector": SELECTOR, "ipBlock": _IP_BLOCK}
_PORT: Shape = {"protocol": None, "port": None, "endPort": None}
NETWORK_POLICY: Shape = {
    "podSelector": SELECTOR,
    "policyTypes": ...,
    "ingress": [{"from": [_PEER], "ports": [_PORT]}],
    "egress": [{"to": [_PEER], "ports": [_PORT]}],
}
_PODS: Shape = {"namespaceSelector": SELECTOR, "podSelector": SELECTOR}
_SUBJECT: Shape = {"namespaces": SELECTOR, "pods": _PODS}
_TO: Shape = {"namespaces": SELECTOR, "pods": _PODS, "nodes": SELECTOR, "networks": ..., "domainNames": ...}
_ADMIN_PORT: Shape = {
    "portNumber": {"protocol": None, "port": None},
    "namedPort": None,
    "portRange": {"protocol": None, "start": None, "end": None},
}
_L4: Shape = {"destinationPort": {"number": None, "range": {"start": None, "end": None}}}
_PROTOCOL: Shape = {"tcp": _L4, "udp": _L4, "sctp": _L4, "destinationNamedPort": None}


def _ruled(more: Mapping[str, Any], ports: str, shape: Shape) -> Shape:
    rule = {"name": None, "action": None, ports: [shape]}
    return {
        **more,
        "subject": _SUBJECT,
        "ingress": [{**rule, "from": [_SUBJECT]}],
        "egress": [{**rule, "to": [_TO]}],
    }


@dataclass(frozen=True)
class Kind:
    """`versions`: of its `apiVersion`, those known; `spec`: None where fields are not gone through."""

    versions: tuple[str, ...]
    spec: Shape = None


_POLICY = "policy.networking.k8s.io"
KINDS: dict[str, Kind] = {
    "NetworkPolicy": Kind(("networking.k8s.io/v1",), NETWORK_POLICY),
    "AdminNetworkPolicy": Kind((f"{_POLICY}/v1alpha1",), _ruled({"priority": None}, "ports", _ADMIN_PORT)),
    "BaselineAdminNetworkPolicy": Kind((f"{_POLICY}/v1alpha1",), _ruled({}, "ports", _ADMIN_PORT)),
    "ClusterNetworkPolicy": Kind(
        (f"{_POLICY}/v1alpha2", f"{_POLICY}/v1beta1"),
        _ruled({"priority": None, "tier": None}, "protocols", _PROTOCOL),
    ),
    "Pod": Kind(("v1",)),
    "Namespace": Kind(("v1",)),
    "Node": Kind(("v1",)),
}


def unknown(node: Node, shape: Shape) -> Iterator[Node]:
    """Fields below a value that its shape does not have."""
    if isinstance(shape, list) and isinstance(node.value, list):
        for item in node.items:
            yield from unknown(item, shape[0])
    elif isinstance(shape, Mapping) and isinstance(node.value, dict):
        for key, value in node.value.items():
            inner = Node(node.document, (*node.path, key), value)
            if key not in shape:
                yield inner
            else:
                yield from unknown(inner, shape[key])
