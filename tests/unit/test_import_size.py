"""What importers share about input: reading takes time in proportion to it, and what is cut off is seen."""

from __future__ import annotations

import cProfile
import json
from collections.abc import Callable

import pytest

from lockgate.compiler.diagnostics import Sink
from lockgate.compiler.importers import calico, iptables, kubernetes, nft
from lockgate.compiler.source import Source

Importer = Callable[[str], Sink]


def of_iptables(text: str) -> Sink:
    sink = Sink()
    iptables.imported([Source("rules", text)], iptables.settings(["eth0"], [], False), sink)
    return sink


def of_nft(text: str) -> Sink:
    sink = Sink()
    nft.imported([Source("rules", text)], nft.Settings(("eth0",)), sink)
    return sink


def of_kubernetes(text: str) -> Sink:
    sink = Sink()
    kubernetes.imported([Source("objects", text)], "default", False, sink)
    return sink


def of_calico(text: str) -> Sink:
    sink = Sink()
    calico.imported([Source("objects", text)], "default", sink)
    return sink


def rules(count: int) -> str:
    """A dump of iptables-save."""
    lines = [
        f"-A INPUT -s 10.{i >> 8}.{i & 255}.0/24 -p tcp -m tcp --dport {i} -j DROP" for i in range(count)
    ]
    return "\n".join(["*filter", ":INPUT ACCEPT [0:0]", *lines, "COMMIT", ""])


def listing(count: int) -> str:
    """What nft prints of a table."""
    here = {"family": "inet", "table": "t"}
    base = {**here, "name": "c", "type": "filter", "hook": "input", "prio": 0, "policy": "accept"}
    objects: list[object] = [{"table": {"family": "inet", "name": "t"}}, {"chain": base}]
    for i in range(count):
        port = {"payload": {"protocol": "tcp", "field": "dport"}}
        match = {"match": {"op": "==", "left": port, "right": i}}
        objects.append({"rule": {**here, "chain": "c", "handle": i, "expr": [match, {"drop": None}]}})
    return json.dumps({"nftables": objects})


def policies(version: str, spec: Callable[[int], object]) -> Callable[[int], str]:
    """Objects, one policy each."""

    def text(count: int) -> str:
        items = [
            {
                "apiVersion": version,
                "kind": "NetworkPolicy",
                "metadata": {"name": f"p{i}", "namespace": "n"},
                "spec": spec(i),
            }
            for i in range(count)
        ]
        return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})

    return text


IMPORTERS: dict[str, tuple[Importer, Callable[[int], str]]] = {
    "iptables": (of_iptables, rules),
    "nft": (of_nft, listing),
    "kubernetes": (
        of_kubernetes,
        policies(
            "networking.k8s.io/v1",
            lambda i: {
                "podSelector": {"matchLabels": {"app": f"a{i}"}},
                "ingress": [{"ports": [{"port": 80}]}],
            },
        ),
    ),
    "calico": (
        of_calico,
        policies(
            "projectcalico.org/v3",
            lambda i: {"selector": f"app == 'a{i}'", "ingress": [{"action": "Allow", "protocol": "TCP"}]},
        ),
    ),
}


@pytest.mark.parametrize("name", IMPORTERS)
def test_three_times_the_input_takes_about_three_times_the_calls(name: str) -> None:
    importer, text = IMPORTERS[name]

    def calls(count: int) -> int:
        written, profile = text(count), cProfile.Profile()
        assert not profile.runcall(importer, written).diagnostics
        return sum(entry.callcount for entry in profile.getstats())

    importer(text(1))  # what is done once is done
    assert calls(900) < calls(300) * 3 * 1.25


@pytest.mark.parametrize("name", IMPORTERS)
def test_a_file_that_is_cut_off_is_an_error_wherever(name: str) -> None:
    importer, text = IMPORTERS[name]
    whole = text(3).rstrip("\n")
    for end in range(1, len(whole), max(1, len(whole) // 40)):
        found = importer(whole[:end])
        assert found.has_errors, whole[:end]
        assert {one.code[:3] for one in found.diagnostics} <= {"E10", "W10"}


def test_chains_of_nft_in_a_circle() -> None:
    here = {"family": "inet", "table": "t"}
    base = {**here, "name": "c", "type": "filter", "hook": "input", "prio": 0, "policy": "accept"}
    objects: list[object] = [{"table": {"family": "inet", "name": "t"}}, {"chain": base}]
    objects.append({"chain": {**here, "name": "d"}})
    for handle, (chain, target) in enumerate((("c", "d"), ("d", "c"))):
        jump = {"jump": {"target": target}}
        objects.append({"rule": {**here, "chain": chain, "handle": handle, "expr": [jump]}})
    assert [one.code for one in of_nft(json.dumps({"nftables": objects})).diagnostics] == ["E1005"]
