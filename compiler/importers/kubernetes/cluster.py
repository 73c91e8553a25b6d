"""Namespaces, pods and nodes: who is there, for named ports and for the inventory (docs/endpoints.md).

Pods on their host's network and pods that have ended have no address of their own and are left out, as the
API reference says of selectors. Knows these three kinds; must never know a policy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from lockgate.stdlib_bpf.labels import NAME, WORKLOAD, Selector
from lockgate.stdlib_bpf.prefix_text import BadPrefix, read_prefix

from ..documents import Node, WrongShapeError, listed

ENDED = frozenset({"Succeeded", "Failed"})
OWN_ADDRESSES = frozenset({"InternalIP", "ExternalIP"})


@dataclass(frozen=True)
class Pod:
    """`ports`: name and protocol (tcp, udp, sctp) → number."""

    namespace: str
    name: str
    labels: dict[str, str]
    addresses: tuple[str, ...]
    ports: dict[tuple[str, str], int]


@dataclass(frozen=True)
class Host:
    """A node."""

    name: str
    labels: dict[str, str]
    addresses: tuple[str, ...]


@dataclass
class Cluster:
    """What the files say about who is there. `namespaces`: labels by name."""

    namespaces: dict[str, dict[str, str]] = field(default_factory=dict)
    pods: list[Pod] = field(default_factory=list)
    hosts: list[Host] = field(default_factory=list)

    def add(self, node: Node, default_namespace: str) -> None:
        """A namespace, a pod or a node. WrongShapeError."""
        name = text_of(node, "metadata", "name")
        labels = node.at("metadata", "labels")
        found = {} if labels is None else labels.texts()
        kind = node.value["kind"]
        if kind == "Namespace":
            self.namespaces[name] = found
        elif kind == "Node":
            addresses = listed(node.at("status", "addresses"))
            own = (a for a in addresses if a.mapping.get("type") in OWN_ADDRESSES)
            self.hosts.append(Host(name, found, tuple(_address(a.get("address"), a) for a in own)))
        else:
            namespace = node.at("metadata", "namespace")
            pod = self._pod(node, name, default_namespace if namespace is None else namespace.text, found)
            if pod is not None:
                self.pods.append(pod)

    @staticmethod
    def _pod(node: Node, name: str, namespace: str, labels: dict[str, str]) -> Pod | None:
        phase, network = node.at("status", "phase"), node.at("spec", "hostNetwork")
        if (phase is not None and phase.value in ENDED) or (network is not None and network.value is True):
            return None
        addresses = [_address(item.get("ip"), item) for item in listed(node.at("status", "podIPs"))]
        single = node.at("status", "podIP")
        if not addresses and single is not None:
            addresses = [_address(single, single)]
        ports: dict[tuple[str, str], int] = {}
        for key in ("containers", "initContainers"):
            for container in listed(node.at("spec", key)):
                for port in listed(container.get("ports")):
                    called, number = port.get("name"), port.get("containerPort")
                    protocol = port.get("protocol")
                    if called is not None and number is not None:
                        word = "tcp" if protocol is None else protocol.text.lower()
                        ports.setdefault((called.text, word), number.number)
        return Pod(namespace, name, labels, tuple(addresses), ports)

    def namespace(self, name: str) -> dict[str, str]:
        """A namespace's labels, its name among them."""
        return {**self.namespaces.get(name, {}), NAME: name}

    def taken(self, selector: Selector) -> Iterator[Pod]:
        """The pods that a selector takes."""
        for pod in self.pods:
            if selector.takes(WORKLOAD, pod.labels, self.namespace(pod.namespace)):
                yield pod

    def inventory(self) -> str:
        """As a file for `--endpoints`."""
        out = ["namespaces:\n"] if self.namespaces else []
        out += [f"  {_quoted(name)}: {_labels(labels)}\n" for name, labels in sorted(self.namespaces.items())]
        out.append("endpoints:\n" if self.pods or self.hosts else "endpoints: []\n")
        for pod in sorted(self.pods, key=lambda p: (p.namespace, p.name)):
            out.append(f"  - name: {_quoted(pod.name)}\n    namespace: {_quoted(pod.namespace)}\n")
            out += _rest(pod.labels, pod.addresses)
            named = {name: (protocol, number) for (name, protocol), number in pod.ports.items()}
            words = (
                f"{_quoted(name)}: {number if protocol == 'tcp' else f'{{ {protocol}: {number} }}'}"
                for name, (protocol, number) in named.items()
            )
            out.append(f"    ports: {{ {', '.join(words)} }}\n" if named else "")
        for host in sorted(self.hosts, key=lambda h: h.name):
            out.append(f"  - name: {_quoted(host.name)}\n    kind: host\n")
            out += _rest(host.labels, host.addresses)
        return "".join(out)


def _rest(labels: dict[str, str], addresses: tuple[str, ...]) -> list[str]:
    out = [f"    labels: {_labels(labels)}\n"] if labels else []
    if addresses:
        out.append(f"    addresses: [ {', '.join(_quoted(a) for a in dict.fromkeys(addresses))} ]\n")
    return out


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return "{}"
    return "{ " + ", ".join(f"{_quoted(k)}: {_quoted(v)}" for k, v in sorted(labels.items())) + " }"


def _quoted(text: str) -> str:
    plain = text.replace("-", "").isalnum() and text.isascii() and text[:1].isalpha()
    reserved = text.lower() in ("true", "false", "yes", "no", "on", "off", "null", "y", "n")
    return text if plain and not reserved else json.dumps(text)


def _address(node: Node | None, outer: Node) -> str:
    if node is None:
        raise WrongShapeError(outer, "must have an address")
    try:
        read_prefix(node.text)
    except BadPrefix as error:
        raise WrongShapeError(node, str(error)) from None
    return node.text


def text_of(node: Node, *keys: str) -> str:
    """The text that some keys lead to. WrongShapeError where there is none."""
    found = node.at(*keys)
    if found is None:
        raise WrongShapeError(node, f"must have `{'.'.join(keys)}`")
    return found.text
