"""`import kubernetes`: what it writes, what it refuses, and where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lockgate.cli import main
from lockgate.compiler.diagnostics import Sink
from lockgate.compiler.importers import kubernetes
from lockgate.compiler.source import Source
from lockgate.compiler.syntax import format_source
from lockgate.stdlib_bpf import inventory_text
from tests import engines
from tests.properties.kubernetes_objects import world_objects

DB = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: db, namespace: shop }
spec:
  podSelector: { matchLabels: { app: db } }
"""
GUARD = """\
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: { name: guard }
spec:
  tier: Admin
  priority: 7
  subject: { namespaces: {} }
"""


def imported(*texts: str, allow_nodes: bool = False) -> tuple[kubernetes.Result, Sink]:
    sink = Sink()
    sources = [Source(f"file{i}.yaml", text) for i, text in enumerate(texts, 1)]
    return kubernetes.imported(sources, "default", allow_nodes, sink), sink


def body(spec: str, begin: str = DB) -> list[str]:
    """The result's lines behind the policy's name, without columns and comments."""
    result, sink = imported(begin + spec)
    assert not sink.diagnostics, [d.message for d in sink.diagnostics]
    assert result.text is not None
    engines.load(result.text, {})
    assert format_source(Source("p", result.text), Sink()) == result.text
    lines = result.text.partition("\npolicy ")[2].partition("\n\n")[0].splitlines()
    return [found for line in lines if (found := " ".join(line.partition("#")[0].split()))]


RULES = {
    "  ingress: []\n": ["ingress {}"],
    "  policyTypes: [Egress]\n": ["egress {}"],
    "  egress: [ {} ]\n": ["ingress {}", "egress {", "allow", "}"],
    "  ingress: [ { from: [] } ]\n": ["ingress {", "allow", "}"],
    "  ingress: [ { ports: [ { port: 80 }, { port: 81, endPort: 90 } ] } ]\n": [
        "ingress {", "allow tcp to port { 80, 81-90 }", "}",
    ],
    "  ingress: [ { ports: [ { port: 53 }, { port: 53, protocol: UDP }, { protocol: SCTP } ] } ]\n": [
        "ingress {", "allow tcp, udp to port 53", "allow sctp", "}",
    ],
    "  ingress: [ { from: [ { podSelector: {} } ] } ]\n": ["ingress {", "allow from [] ns[name=shop]", "}"],
    "  ingress: [ { from: [ { namespaceSelector: {} } ] } ]\n": ["ingress {", "allow from []", "}"],
    "  ingress: [ { from: [ { namespaceSelector: { matchLabels: "
    "{ kubernetes.io/metadata.name: kube } } } ] } ]\n": [
        "ingress {", "allow from [] ns[name=kube]", "}",
    ],
    "  ingress: [ { from: [ { ipBlock: { cidr: 10.0.0.1/8, except: [10.1.0.0/16] } } ] } ]\n": [
        "ingress {", "allow from 10.0.0.0/8 - 10.1.0.0/16", "}",
    ],
    "  ingress: [ { from: [ { podSelector: { matchExpressions: "
    "[ { key: a/b, operator: NotIn, values: [x, y] }, { key: c, operator: DoesNotExist } ] } } ] } ]\n": [
        "ingress {", 'allow from ["a/b" not in { x, y }, lacks c] ns[name=shop]', "}",
    ],
}  # fmt: skip


@pytest.mark.parametrize("spec", RULES)
def test_what_is_said(spec: str) -> None:
    assert body(spec) == ["shop-db for [app=db] ns[name=shop] {", "default drop", *RULES[spec], "}"]


def test_administrators_have_tiers_before_and_behind() -> None:
    result, sink = imported(
        DB
        + "---\n"
        + GUARD
        + "  egress: [ { name: Metadata, action: Deny, to: [ { networks: [ 169.254.0.0/16 ] } ] } ]\n"
    )
    assert not sink.diagnostics and result.text is not None
    assert "tiers admin > kubernetes > rest\n" in result.text
    assert "    metadata: drop to 169.254.0.0/16" in result.text
    assert "# ClusterNetworkPolicy guard, file1.yaml:7" in result.text
    assert result.text.endswith("  tier    rest\n  default allow\n  ingress {}\n  egress {}\n}\n")
    engines.load(result.text, {})


def test_nodes_may_be_let_in() -> None:
    result, sink = imported(DB, allow_nodes=True)
    assert not sink.diagnostics and result.text is not None
    assert "tiers nodes > kubernetes > rest" in result.text and "allow from nodes" in result.text
    engines.load(result.text, {})


def test_networks_and_ports_that_come_twice_have_names() -> None:
    peers = "from: [ { podSelector: { matchLabels: { app: api } } }, { ipBlock: { cidr: 10.0.0.0/8 } } ]"
    ports = "ports: [ { port: 80 }, { port: 443 } ]"
    result, _ = imported(DB + f"  ingress: [ {{ {peers}, {ports} }}, {{ {peers} }}, {{ {ports} }} ]\n")
    assert result.text is not None
    assert "network peers-of-shop-db = { [app=api] ns[name=shop], 10.0.0.0/8 }" in result.text
    assert "allow tcp from peers-of-shop-db to port ports-of-shop-db" in result.text
    engines.load(result.text, {})


WRONG = {
    DB + "  ingress: [ { from: [ { ipBlock: { cidr: 10.0.0.0/33 } } ] } ]\n": ("E1004", 6),
    DB + "  ingress: [ { from: [ { ipBlock: { cidr: 10.0.0.0/8, except: [11.0.0.0/16] } } ] } ]\n": (
        "E1004",
        6,
    ),
    DB + "  ingress: [ { from: [ {} ] } ]\n": ("E1004", 6),
    DB + "  ingress:\n  - ports:\n    - port: 70000\n": ("E1004", 8),
    DB + "  ingress: [ { ports: [ { port: 9, endPort: 8 } ] } ]\n": ("E1004", 6),
    DB + "  ingress: [ { ports: [ { protocol: ICMP } ] } ]\n": ("E1004", 6),
    DB + "  ingress: nothing\n": ("E1004", 6),
    DB.replace("app: db", "app: 7"): ("E1004", 5),
    DB.replace("matchLabels: { app: db }", "matchExpressions: [ { key: a, operator: Is } ]"): ("E1004", 5),
    DB + "  ingress: [ { ports: [ { port: http } ] } ]\n": ("E1002", 6),
    DB + "  ingress: [ { from: [ { namespaceSelector: { matchLabels: { name: a } } } ] } ]\n": ("E1002", 6),
    DB.replace("/v1", "/v7"): ("E1007", 1),
    DB + "  ingres: []\n": ("W1011", 6),
    DB + "  ingress:\n  - form: []\n": ("W1011", 7),
    DB + "---\napiVersion: apps/v1\nkind: Deployment\n": ("W1010", 7),
    GUARD + "  egress: [ { action: Deny, to: [ { domainNames: [ example.org ] } ] } ]\n": ("E1002", 8),
    GUARD + "  egress: [ { action: Deny, to: [ { nodes: { matchLabels: { a: b } } } ] } ]\n": ("E1002", 8),
    GUARD + "  ingress: [ { action: Allow, from: [ { namespaces: {} } ] } ]\n": ("E1004", 8),
    GUARD + "  ingress: [ { action: Deny } ]\n": ("E1004", 8),
    "a: [": ("E1001", 1),
    "{": ("E1001", 1),
    "": ("E1001", 1),
    "a: &x [ *x ]\n": ("E1001", 1),
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_has_its_place(text: str) -> None:
    _, sink = imported(text)
    assert [(d.code, d.labels[0].span.line) for d in sink.diagnostics] == [WRONG[text]]


def test_places_in_json_are_found() -> None:
    bad = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "a"}}
    bad["spec"] = {"ingress": [{"ports": [{"port": "http"}]}]}  # type: ignore[assignment]
    _, sink = imported(json.dumps({"kind": "List", "apiVersion": "v1", "items": [bad]}, indent=1))
    (found,) = sink.diagnostics
    assert '"port": "http"' in found.labels[0].span.text


def test_named_ports_are_those_of_the_pods() -> None:
    world = json.dumps({"kind": "List", "apiVersion": "v1", "items": world_objects()})
    spec = (
        DB.replace("matchLabels: { app: db }", "").replace("shop", "x")
        + "  ingress: [ { ports: [ { port: web } ] } ]\n"
    )
    result, sink = imported(spec, world)
    assert not sink.diagnostics and result.text is not None
    assert "allow tcp to port 80" in result.text
    other = world.replace('"containerPort": 80', '"containerPort": 8080', 1)
    _, sink = imported(spec, other)
    assert [d.code for d in sink.diagnostics] == ["E1002"]


def test_pods_namespaces_and_nodes_become_the_inventory(tmp_path: Path) -> None:
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n1", "labels": {"a/b": "true"}},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": "192.0.2.1"},
                {"type": "Hostname", "address": "n1"},
            ]
        },
    }
    ghost = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "g"}, "spec": {"hostNetwork": True}}
    ended = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "e"}, "status": {"phase": "Succeeded"}}
    objects, policy, out = tmp_path / "objects.json", tmp_path / "db.yaml", tmp_path / "inventory.yaml"
    objects.write_text(json.dumps({"kind": "List", "items": [*world_objects(), node, ghost, ended]}))
    policy.write_text(DB)
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                "import",
                "kubernetes",
                str(policy),
                str(objects),
                "-o",
                str(tmp_path / "p.gate"),
                "--inventory-out",
                str(out),
            ]
        )
    assert stopped.value.code == 0
    inventory = inventory_text.read(out.read_text())
    assert len(inventory.entries) == 10
    (host,) = (entry for entry in inventory.entries if entry.kind == "host")
    assert host.labels == {"a/b": "true"} and len(host.addresses) == 1
    pod = next(entry for entry in inventory.entries if entry.title == "x/b")
    assert pod.labels == {"pod": "b", "tier": "back"}
    assert {(p.name, p.number) for p in pod.ports} == {("web", 80), ("admin", 81)}
    assert inventory.namespaces["x"]["ns"] == "x"


def test_unreadable_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    binary = tmp_path / "b"
    binary.write_bytes(b"\xff\xfe")
    for path in (binary, tmp_path / "none"):
        with pytest.raises(SystemExit) as stopped:
            main(["import", "kubernetes", str(path)])
        assert stopped.value.code == 2
        assert "cannot read" in capsys.readouterr().err
