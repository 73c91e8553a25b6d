"""`import nft`: what it writes, what it refuses, and where. The kernel judges it in tests/kernel."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lockgate.compiler.diagnostics import Sink
from lockgate.compiler.importers import nft
from lockgate.compiler.source import Source
from lockgate.compiler.syntax import format_source
from tests import engines

Object = dict[str, Any]
TABLE: Object = {"table": {"family": "inet", "name": "f", "handle": 1}}
BASE = {"type": "filter", "hook": "input", "prio": 0, "policy": "drop"}


def chain(name: str, **more: object) -> Object:
    return {"chain": {"family": "inet", "table": "f", "name": name, "handle": 1, **more}}


def rule(*expr: object, name: str = "in") -> Object:
    return {"rule": {"family": "inet", "table": "f", "chain": name, "handle": 2, "expr": list(expr)}}


def match(left: object, right: object, op: str = "==") -> Object:
    return {"match": {"op": op, "left": left, "right": right}}


def payload(protocol: str, field: str) -> Object:
    return {"payload": {"protocol": protocol, "field": field}}


def imported(*objects: Object, device: str = "eth0") -> tuple[str, Sink]:
    sink = Sink()
    text = json.dumps({"nftables": [{"metainfo": {}}, TABLE, *objects]})
    return nft.imported(
        [Source("rules.json", text)], nft.Settings((device,) if device else ()), sink
    ) or "", sink


def said(*objects: Object) -> list[str]:
    text, sink = imported(*objects)
    assert not sink.diagnostics, [d.labels for d in sink.diagnostics]
    engines.load(text, {})
    assert format_source(Source("p", text), Sink()) == text
    body = text.partition("ingress {\n")[2].splitlines()[1:-2]
    return [" ".join(line.partition("#")[0].split()) for line in body]


SSH = match(payload("tcp", "dport"), {"set": [22, {"range": [2222, 2230]}]})
RULES = {
    "from": (match(payload("ip", "saddr"), {"prefix": {"addr": "10.0.0.0", "len": 8}}), "from 10.0.0.0/8"),
    "ports": (SSH, "tcp to port { 22, 2222-2230 }"),
    "not": (match(payload("ip6", "daddr"), "fe80::1", "!="), "to not fe80::1"),
    "protocol": (match({"meta": {"key": "l4proto"}}, {"set": ["tcp", "udp"]}), "tcp, udp"),
    "masked flags": (
        match({"&": [payload("tcp", "flags"), ["syn", "ack"]]}, "syn"), "tcp flags syn/syn,ack",
    ),
    "any flag": (match(payload("tcp", "flags"), ["syn", "fin"], "in"), "tcp flags fin, syn"),
    "ttl": (match(payload("ip", "ttl"), 5, "<"), "ip4 if ip.ttl <= 4"),
    "family": (match({"meta": {"key": "nfproto"}}, "ipv6"), "ip6"),
    "icmp": (match(payload("icmp", "type"), "echo-request"), "icmp type echo-request"),
    "device": (match({"meta": {"key": "iifname"}}, "eth*"), ""),
    "later": (match({"&": [payload("ip", "frag-off"), 8191]}, 0, "!="), "ip4 if ip.fragment == later"),
    "data offset": (match(payload("tcp", "doff"), 14, ">"), "tcp if tcp.header == 60"),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_what_is_said(name: str) -> None:
    expr, words = RULES[name]
    assert said(chain("in", **BASE), rule(expr, {"drop": None})) == [f"drop {words}".strip()]


def test_verdict_maps_are_rules() -> None:
    data = {"set": [[22, {"jump": {"target": "ssh"}}], [53, {"drop": None}]]}
    vmap = {"vmap": {"key": payload("tcp", "dport"), "data": data}}
    office = match(payload("ip", "saddr"), "10.0.0.1")
    assert said(
        chain("ssh"), chain("in", **BASE), rule(office, {"accept": None}, name="ssh"), rule(vmap)
    ) == ["pass tcp from 10.0.0.1 to port 22", "drop tcp to port 53"]


def test_names_come_from_sets_and_counters() -> None:
    known = {"set": {"family": "inet", "name": "known", "table": "f", "type": "ipv4_addr", "handle": 1,
                     "elem": ["192.0.2.7", {"prefix": {"addr": "10.0.0.0", "len": 8}}]}}  # fmt: skip
    one = rule(match(payload("ip", "saddr"), "@known"), {"counter": "from office"}, {"accept": None})
    text, sink = imported(known, chain("in", **BASE), one)
    assert not sink.diagnostics
    assert "network known = { 10.0.0.0/8, 192.0.2.7 }  # set known of table inet f" in text
    assert "from-office:" in text


REFUSED = {
    "ct": (match({"ct": {"key": "state"}}, "established"), "E1002"),
    "concat": (match({"concat": [payload("ip", "saddr"), payload("tcp", "dport")]}, {"set": []}), "E1002"),
    "over": ({"limit": {"rate": 1, "per": "second", "inv": True}}, "E1002"),
    "mark": (match({"meta": {"key": "mark"}}, 1), "E1002"),
    "set": (match(payload("ip", "saddr"), "@nowhere"), "E1003"),
    "value": (match(payload("ip", "saddr"), "10.0.0.256"), "E1004"),
    "xt": ({"xt": {"type": "match", "name": "conntrack"}}, "E1002"),
    "form": ({"match": {}}, "E1004"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_has_its_place(name: str) -> None:
    expr, code = REFUSED[name]
    _, sink = imported(chain("in", **BASE), rule(SSH, {"drop": None}), rule(expr, {"drop": None}))
    assert [(d.code, d.labels[0].span.line) for d in sink.diagnostics] == [(code, 5)]


def test_nat_and_other_families() -> None:
    nat = chain("out", type="nat", hook="postrouting", prio=100, policy="accept")
    _, sink = imported(nat, rule({"masquerade": None}, name="out"))
    assert [d.code for d in sink.diagnostics] == ["E1002"]
    arp: Object = {"table": {"family": "arp", "name": "a"}}
    base: Object = {"chain": {"family": "arp", "table": "a", "name": "c", "type": "filter", "hook": "input"}}
    _, sink = imported(arp, base)
    assert [d.code for d in sink.diagnostics] == ["W1010"]


def test_a_device_must_be_named() -> None:
    _, sink = imported(chain("in", **BASE), device="")
    assert [d.code for d in sink.diagnostics] == ["E1002"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "table inet f {}", '{"nftables": [{"chain": {}}]}', '{"nftables": []}']
)
def test_broken_input(text: str) -> None:
    sink = Sink()
    assert nft.imported([Source("rules", text)], nft.Settings(("eth0",)), sink) is None
    assert [d.code for d in sink.diagnostics] == ["E1001"]
