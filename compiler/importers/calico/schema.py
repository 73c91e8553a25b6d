"""The kinds of projectcalico.org/v3 and their fields. Source: the API reference of Calico 3.31."""

from __future__ import annotations

from ..kubernetes.schema import Kind, Shape

VERSIONS = ("projectcalico.org/v3", "crd.projectcalico.org/v1")
_ENTITY: Shape = {
    **dict.fromkeys(("nets", "notNets", "ports", "notPorts", "services", "serviceAccounts"), ...),
    **dict.fromkeys(("selector", "notSelector", "namespaceSelector")),
}
_RULE: Shape = {
    **dict.fromkeys(("action", "ipVersion", "protocol", "notProtocol", "http", "metadata"), ...),
    "icmp": {"type": None, "code": None},
    "notICMP": {"type": None, "code": None},
    "source": _ENTITY,
    "destination": _ENTITY,
}
_POLICY = {
    **dict.fromkeys(("tier", "order", "selector", "serviceAccountSelector", "performanceHints"), ...),
    "types": ...,
    "ingress": [_RULE],
    "egress": [_RULE],
}
_GLOBAL = dict.fromkeys(("doNotTrack", "preDNAT", "applyOnForward", "namespaceSelector"), None)
KINDS: dict[str, Kind] = {
    "Tier": Kind(VERSIONS, {"order": None, "defaultAction": None}),
    "NetworkPolicy": Kind(VERSIONS, _POLICY),
    "GlobalNetworkPolicy": Kind(VERSIONS, {**_POLICY, **_GLOBAL}),
    "NetworkSet": Kind(VERSIONS, {"nets": ...}),
    "GlobalNetworkSet": Kind(VERSIONS, {"nets": ...}),
    "HostEndpoint": Kind(VERSIONS),
    "Profile": Kind(VERSIONS),
}
