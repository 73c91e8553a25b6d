"""Random network policies of Kubernetes as objects, and who reaches whom by the text of the API.

The judge is written from the API reference alone and shares nothing with the importer: it walks the objects
for one connection at a time. The world is that of Kubernetes' own tests: pods a, b and c in namespaces x, y
and z, ports 80 and 81, TCP, UDP and SCTP.
"""

from __future__ import annotations

import ipaddress
import random
from dataclasses import dataclass, field
from typing import Any

NAMESPACES, PODS = ("x", "y", "z"), ("a", "b", "c")
PORTS, PROTOCOLS = (80, 81), ("TCP", "UDP", "SCTP")
Object = dict[str, Any]
POLICY = "policy.networking.k8s.io"


@dataclass(frozen=True)
class Pod:
    """One of the nine."""

    namespace: str
    name: str

    @property
    def labels(self) -> dict[str, str]:
        """Pod b also has a tier, which others lack."""
        return {"pod": self.name} | ({"tier": "back"} if self.name == "b" else {})

    @property
    def space(self) -> dict[str, str]:
        """Labels of its namespace."""
        return {"ns": self.namespace, "kubernetes.io/metadata.name": self.namespace}

    @property
    def address(self) -> str:
        """10.0.NAMESPACE.POD."""
        return f"10.0.{NAMESPACES.index(self.namespace) + 1}.{PODS.index(self.name) + 1}"

    @property
    def ports(self) -> dict[str, int]:
        """Named ports: the same at all."""
        return {"web": 80, "admin": 81}


WORLD = tuple(Pod(n, p) for n in NAMESPACES for p in PODS)


def world_objects() -> list[Object]:
    """Its namespaces and pods."""
    spaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n, "labels": Pod(n, "a").space}}
        for n in NAMESPACES
    ]
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "labels": pod.labels},
            "spec": {
                "containers": [
                    {
                        "name": "c",
                        "ports": [
                            {"name": name, "containerPort": number, "protocol": "TCP"}
                            for name, number in pod.ports.items()
                        ],
                    }
                ]
            },
            "status": {"podIPs": [{"ip": pod.address}]},
        }
        for pod in WORLD
    ]
    return spaces + pods


# ---- the judge ----


@dataclass(frozen=True)
class Connection:
    """Who wants to reach whom."""

    source: Pod
    target: Pod
    protocol: str
    port: int


def selects(selector: Object | None, labels: dict[str, str]) -> bool:
    """meta/v1 LabelSelector."""
    selector = selector or {}
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for one in selector.get("matchExpressions", []):
        there, values = one["key"] in labels, one.get("values", [])
        holds = {
            "In": there and labels.get(one["key"]) in values,
            "NotIn": not there or labels[one["key"]] not in values,
            "Exists": there,
            "DoesNotExist": not there,
        }
        if not holds[one["operator"]]:
            return False
    return True


def _within(address: str, block: Object) -> bool:
    ip = ipaddress.ip_address(address)

    def inside(cidr: str) -> bool:
        network = ipaddress.ip_network(cidr, strict=False)
        return ip.version == network.version and ip in network

    return inside(block["cidr"]) and not any(inside(other) for other in block.get("except", []))


def _np_peer(peer: Object, pod: Pod, namespace: str) -> bool:
    if "ipBlock" in peer:
        return _within(pod.address, peer["ipBlock"])
    if "namespaceSelector" in peer:
        return selects(peer["namespaceSelector"], pod.space) and selects(peer.get("podSelector"), pod.labels)
    return pod.namespace == namespace and selects(peer["podSelector"], pod.labels)


def _np_port(port: Object, wish: Connection) -> bool:
    if port.get("protocol", "TCP") != wish.protocol:
        return False
    number = port.get("port")
    if number is None:
        return True
    if isinstance(number, str):
        return wish.protocol == "TCP" and wish.target.ports.get(number) == wish.port
    return bool(number <= wish.port <= port.get("endPort", number))


def _np_verdict(objects: list[Object], wish: Connection, direction: str) -> bool | None:
    """By NetworkPolicy: None where none of them selects the pod in that direction."""
    word, key, peers = ("Ingress", "ingress", "from") if direction == "in" else ("Egress", "egress", "to")
    me, other = (wish.target, wish.source) if direction == "in" else (wish.source, wish.target)
    isolated = False
    for one in objects:
        if one["kind"] != "NetworkPolicy":
            continue
        spec, namespace = one["spec"], one["metadata"]["namespace"]
        types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
        if namespace != me.namespace or word not in types or not selects(spec["podSelector"], me.labels):
            continue
        isolated = True
        for rule in spec.get(key) or []:
            near = not rule.get(peers) or any(_np_peer(p, other, namespace) for p in rule[peers])
            if near and (not rule.get("ports") or any(_np_port(p, wish) for p in rule["ports"])):
                return True
    return False if isolated else None


def _either(peer: Object, pod: Pod) -> bool:
    if "networks" in peer:
        return any(_within(pod.address, {"cidr": cidr}) for cidr in peer["networks"])
    if "namespaces" in peer:
        return selects(peer["namespaces"], pod.space)
    return selects(peer["pods"]["namespaceSelector"], pod.space) and selects(
        peer["pods"]["podSelector"], pod.labels
    )


def _admin_port(port: Object, wish: Connection) -> bool:
    if "destinationNamedPort" in port or "namedPort" in port:
        name = port.get("destinationNamedPort", port.get("namedPort"))
        return wish.protocol == "TCP" and wish.target.ports.get(name) == wish.port
    for protocol in PROTOCOLS:  # of v1alpha2
        if protocol.lower() in port:
            where = port[protocol.lower()].get("destinationPort")
            if where is None:
                return wish.protocol == protocol
            low, high = (
                (where["number"],) * 2
                if "number" in where
                else (where["range"]["start"], where["range"]["end"])
            )
            return wish.protocol == protocol and low <= wish.port <= high
    one = port.get("portNumber") or port["portRange"]
    low, high = one.get("start", one.get("port")), one.get("end", one.get("port"))
    return one.get("protocol", "TCP") == wish.protocol and low <= wish.port <= high


def _admin_verdict(objects: list[Object], wish: Connection, direction: str, tier: str) -> str | None:
    key, peers = ("ingress", "from") if direction == "in" else ("egress", "to")
    me, other = (wish.target, wish.source) if direction == "in" else (wish.source, wish.target)
    for one in sorted(objects, key=lambda o: o["spec"].get("priority", 0)):
        spec = one["spec"]
        place = {"AdminNetworkPolicy": "Admin", "BaselineAdminNetworkPolicy": "Baseline"}.get(one["kind"])
        if (place or spec.get("tier")) != tier or not _either(spec["subject"], me):
            continue
        for rule in spec.get(key, []):
            ports = rule.get("ports") or rule.get("protocols")
            if any(_either(p, other) for p in rule[peers]) and (
                not ports or any(_admin_port(p, wish) for p in ports)
            ):
                return str(rule["action"])
    return None


def allowed(objects: list[Object], wish: Connection) -> bool:
    """Whether both ends let the connection be. A pod always reaches itself."""
    if wish.source == wish.target:
        return True
    for direction in ("out", "in"):
        first = _admin_verdict(objects, wish, direction, "Admin")
        if first == "Deny":
            return False
        if first in ("Allow", "Accept"):
            continue
        own = _np_verdict(objects, wish, direction)
        if own is False:
            return False
        if own is None and _admin_verdict(objects, wish, direction, "Baseline") == "Deny":
            return False
    return True


# ---- random objects ----


@dataclass
class Objects:
    """Draws objects."""

    rng: random.Random
    count: int = field(default=0)

    def some(self, admins: bool) -> list[Object]:
        """Some policies; with those of administrators, if wanted."""
        rng = self.rng
        found = [self.network_policy() for _ in range(rng.randrange(0 if admins else 1, 5))]
        if admins:
            kind = rng.choice(("v1alpha1", "v1alpha2"))
            made = self.cluster_policy if kind == "v1alpha2" else self.admin_policy
            found += [made(i) for i in range(rng.randrange(1, 4))]
            if kind == "v1alpha1" and rng.random() < 0.6:
                found.append(self._admin("BaselineAdminNetworkPolicy", "v1alpha1", {}, ("Allow", "Deny")))
        rng.shuffle(found)
        return found

    def _name(self) -> str:
        self.count += 1
        return f"policy-{self.count}"

    def selector(self, own: bool) -> Object:
        """Of pods or of namespaces."""
        rng = self.rng
        key, values = (
            ("pod", PODS) if own else (rng.choice(("ns", "kubernetes.io/metadata.name")), NAMESPACES)
        )
        if rng.random() < 0.25:
            return {}
        if rng.random() < 0.4:
            return {"matchLabels": {key: rng.choice(values)}}
        operator = rng.choice(("In", "NotIn", "Exists", "DoesNotExist"))
        key = rng.choice((key, "tier", "missing")) if own else rng.choice((key, "missing"))
        one: Object = {"key": key, "operator": operator}
        if operator in ("In", "NotIn"):
            one["values"] = rng.sample([*values, "back"], rng.randrange(1, 3))
        return {"matchExpressions": [one]}

    def network_policy(self) -> Object:
        """networking.k8s.io/v1."""
        rng = self.rng
        spec: Object = {"podSelector": self.selector(True)}
        if rng.random() < 0.6:
            spec["policyTypes"] = rng.choice((["Ingress"], ["Egress"], ["Ingress", "Egress"]))
        for key, peers in (("ingress", "from"), ("egress", "to")):
            if rng.random() < 0.7:
                spec[key] = [self._np_rule(peers) for _ in range(rng.randrange(0, 3))]
        meta = {"name": self._name(), "namespace": rng.choice(NAMESPACES)}
        return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec}

    def _np_rule(self, peers: str) -> Object:
        rng, rule = self.rng, {}
        kinds = []
        if rng.random() < 0.8:
            rule[peers] = [self._np_peer() for _ in range(rng.randrange(0, 3))]
            kinds = rule[peers]
        if rng.random() < 0.7:
            named = peers == "from" or (kinds and not any("ipBlock" in peer for peer in kinds))
            rule["ports"] = [self._np_port(named) for _ in range(rng.randrange(0, 3))]
        return rule

    def _np_peer(self) -> Object:
        rng = self.rng
        kind = rng.choice(("pods", "spaces", "both", "block"))
        if kind == "block":
            cidr, *inside = rng.choice(
                (
                    ("10.0.0.0/16", "10.0.1.0/24"),
                    ("10.0.1.0/24", "10.0.1.2/32", "10.0.1.3/32"),
                    ("0.0.0.0/0",),
                    ("::/0",),
                    ("10.0.3.2/32",),
                )
            )
            return {"ipBlock": {"cidr": cidr} | ({"except": inside} if inside and rng.random() < 0.7 else {})}
        found: Object = {}
        if kind != "spaces":
            found["podSelector"] = self.selector(True)
        if kind != "pods":
            found["namespaceSelector"] = self.selector(False)
        return found

    def _np_port(self, named: object) -> Object:
        rng = self.rng
        found: Object = {}
        if named and rng.random() < 0.2:
            return {"port": rng.choice(("web", "admin")), "protocol": "TCP"}
        if rng.random() < 0.7:
            found["protocol"] = rng.choice(PROTOCOLS)
        if rng.random() < 0.8:
            found["port"] = rng.choice((79, 80, 81))
            if rng.random() < 0.3:
                found["endPort"] = rng.choice((81, 90))
        return found

    def admin_policy(self, priority: int) -> Object:
        """policy.networking.k8s.io/v1alpha1."""
        actions = ("Allow", "Deny", "Pass")
        return self._admin("AdminNetworkPolicy", "v1alpha1", {"priority": priority}, actions)

    def cluster_policy(self, priority: int) -> Object:
        """policy.networking.k8s.io/v1alpha2."""
        more = {"priority": priority, "tier": self.rng.choice(("Admin", "Admin", "Baseline"))}
        return self._admin("ClusterNetworkPolicy", "v1alpha2", more, ("Accept", "Deny", "Pass"))

    def _admin(self, kind: str, version: str, more: Object, actions: tuple[str, ...]) -> Object:
        rng = self.rng
        spec: Object = {**more, "subject": self._either()}
        for key, peers in (("ingress", "from"), ("egress", "to")):
            rules = []
            for _ in range(rng.randrange(0, 4)):
                to = [self._either() for _ in range(rng.randrange(1, 3))]
                if key == "egress" and rng.random() < 0.2:
                    to.append({"networks": ["10.0.2.0/24", "fd00::/8"]})
                rule: Object = {"action": rng.choice(actions), peers: to}
                if rng.random() < 0.6:
                    ports = [self._admin_port(version) for _ in range(rng.randrange(1, 3))]
                    rule["protocols" if version == "v1alpha2" else "ports"] = ports
                if rng.random() < 0.5:
                    rule["name"] = rng.choice(("first one", "second", "Third-3"))
                rules.append(rule)
            if rules:
                spec[key] = rules
        meta = {"name": self._name()}
        return {"apiVersion": f"{POLICY}/{version}", "kind": kind, "metadata": meta, "spec": spec}

    def _either(self) -> Object:
        if self.rng.random() < 0.5:
            return {"namespaces": self.selector(False)}
        return {"pods": {"namespaceSelector": self.selector(False), "podSelector": self.selector(True)}}

    def _admin_port(self, version: str) -> Object:
        rng = self.rng
        protocol, port = rng.choice(PROTOCOLS), rng.choice((80, 81))
        ranged = rng.random() < 0.3
        if version == "v1alpha2":
            if rng.random() < 0.2:
                return {protocol.lower(): {}}
            where: Object = {"range": {"start": 79, "end": port}} if ranged else {"number": port}
            return {protocol.lower(): {"destinationPort": where}}
        if ranged:
            return {"portRange": {"protocol": protocol, "start": 79, "end": port}}
        return {"portNumber": {"protocol": protocol, "port": port}}
