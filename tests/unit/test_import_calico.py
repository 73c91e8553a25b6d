"""`import calico`: selector expressions, what is written, what is refused and where."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lockgate.cli import main
from lockgate.compiler.diagnostics import Sink
from lockgate.compiler.importers import calico
from lockgate.compiler.importers.calico import selectors
from lockgate.compiler.importers.refusals import BadValueError, NotSayableError
from lockgate.compiler.source import Source
from lockgate.compiler.syntax import format_source
from tests import engines

API = "apiVersion: projectcalico.org/v3\n"
DB = (
    API
    + """kind: NetworkPolicy
metadata: { name: db, namespace: shop }
spec:
  selector: app == 'db'
"""
)
GUARD = (
    API
    + """kind: GlobalNetworkPolicy
metadata: { name: guard }
spec:
"""
)
BAD = (
    API
    + """kind: GlobalNetworkSet
metadata: { name: bad, labels: { threat: high } }
spec: { nets: [ 192.0.2.0/24, 198.51.100.7 ] }
---
"""
)
TIER = API + "kind: Tier\nmetadata: { name: first }\nspec: { order: 1, defaultAction: Pass }\n---\n"


# ---- selectors, against a judge that walks the expression ----


def drawn(rng: random.Random, depth: int) -> tuple[str, object]:
    """Text and tree of an expression."""
    if depth == 0 or rng.random() < 0.3:
        key, value = rng.choice("abc"), rng.choice(("x", "y", "z w"))
        kind = rng.choice(("==", "!=", "in", "not in", "has", "all"))
        if kind == "has":
            return f"has({key})", ("has", key)
        if kind == "all":
            return "all()", ("all",)
        if kind in ("in", "not in"):
            return f"{key} {kind} {{ '{value}', \"q\" }}", (kind, key, (value, "q"))
        return f"{key} {kind} '{value}'", (kind, key, value)
    kind = rng.choice(("&&", "||", "!"))
    left, right = drawn(rng, depth - 1), drawn(rng, depth - 1)
    if kind == "!":
        return f"!({left[0]})", ("!", left[1])
    return f"({left[0]}) {kind} ({right[0]})", (kind, left[1], right[1])


def true(tree: object, labels: dict[str, str]) -> bool:
    match tree:
        case ("all",):
            return True
        case ("has", key):
            return key in labels
        case ("==", key, value):
            return labels.get(key) == value
        case ("!=", key, value):
            return labels.get(key) != value
        case ("in", key, values):
            return labels.get(key) in values
        case ("not in", key, values):
            return labels.get(key) not in values
        case ("!", inner):
            return not true(inner, labels)
        case ("&&", left, right):
            return true(left, labels) and true(right, labels)
        case ("||", left, right):
            return true(left, labels) or true(right, labels)
    raise AssertionError(tree)


def test_expressions_mean_what_they_say() -> None:
    seen = {True: 0, False: 0}
    for seed in range(300):
        rng = random.Random(seed)
        text, tree = drawn(rng, rng.randrange(4))
        try:
            found = selectors.parse(text)
        except NotSayableError:
            continue
        for _ in range(12):
            labels = {key: rng.choice(("x", "y", "z w", "q")) for key in "abc" if rng.random() < 0.6}
            seen[true(tree, labels)] += 1
            assert selectors.holds(found, labels) == true(tree, labels), f"{text}\n{labels}"
    assert min(seen.values()) > 500


def test_and_binds_more_closely_than_or() -> None:
    found = selectors.parse("a == 'x' || b == 'x' && !has(c)")
    assert selectors.holds(found, {"a": "x", "c": "1"}) and not selectors.holds(found, {"b": "x", "c": "1"})


@pytest.mark.parametrize(
    "text", ["a ==", "a == 'x", "(a == 'x'", "a in { }", "a == 'x' b", "== 'x'", "a @ b", "has(a"]
)
def test_broken_expressions(text: str) -> None:
    with pytest.raises((BadValueError, NotSayableError)):
        selectors.parse(text)


# ---- objects ----


def imported(*texts: str) -> tuple[str, Sink]:
    sink = Sink()
    sources = [Source(f"file{i}.yaml", text) for i, text in enumerate(texts, 1)]
    return calico.imported(sources, "default", sink) or "", sink


def body(text: str) -> list[str]:
    result, sink = imported(text)
    assert not sink.diagnostics, [(d.message, d.labels) for d in sink.diagnostics]
    engines.load(result, {})
    assert format_source(Source("p", result), Sink()) == result
    lines = result.partition("\npolicy ")[2].partition("\n\n")[0].splitlines()
    return [found for line in lines if (found := " ".join(line.partition("#")[0].split()))]


RULES = {
    "action: Allow": "allow",
    "action: Allow, protocol: TCP, destination: { ports: [ 80, 90:99 ] }": "allow tcp to port { 80, 90-99 }",
    "action: Deny, protocol: UDP, source: { notPorts: [ 53 ] }": "drop udp from port { 0-52, 54-65535 }",
    "action: Deny, source: { nets: [ 10.0.0.0/8, 'fd00::/8' ] }": "drop from { 10.0.0.0/8, fd00::/8 }",
    "action: Deny, source: { notNets: [ 10.0.0.0/8 ] }": "drop from any - 10.0.0.0/8",
    "action: Allow, source: { selector: app == 'api' }": "allow from [app=api] ns[name=shop]",
    "action: Allow, source: { selector: has(a) || b != 'c' }": "allow from { [has a] ns[name=shop], "
    "[b!=c] ns[name=shop] }",
    "action: Allow, source: { namespaceSelector: team == 'red' }": "allow from [] ns[team=red]",
    "action: Allow, source: { namespaceSelector: global(), selector: threat == 'high' }":
        "allow from { 192.0.2.0/24, 198.51.100.7 }",
    "action: Deny, source: { notSelector: has(a) }": "drop from any - [has a] ns[name=shop]",
    "action: Allow, source: { selector: has(a), nets: [ 10.0.0.0/8 ] }":
        "allow from 10.0.0.0/8 - { not [has a] ns[name=shop] }",
    "action: Allow, notProtocol: TCP": "allow if ip.proto != tcp",
    "action: Allow, protocol: 47": "allow protocol 47",
    "action: Allow, protocol: ICMP, icmp: { type: 3, code: 4 }": "allow icmp type 3 if icmp.code == 4",
    "action: Allow, protocol: ICMPv6, notICMP: { type: 128 }": "allow icmp6 if icmp6.type != 128",
    "action: Allow, ipVersion: 6": "allow ip6",
    "action: Log, ipVersion: 6, protocol: TCP": "continue tcp if eth.type == ip6 log",
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_what_is_said(rule: str) -> None:
    assert body(f"{BAD}{DB}  ingress: [ {{ {rule} }} ]\n") == [
        "shop-db for [app=db] ns[name=shop] {", "order 10", "default drop", "ingress {",
        RULES[rule], "}", "}",
    ]  # fmt: skip


def test_types_follow_from_rules() -> None:
    assert "ingress {}" in body(DB)
    assert body(DB + "  egress: [ { action: Allow } ]\n")[3:] == ["egress {", "allow", "}", "}"]
    assert body(DB + "  types: [ Egress ]\n")[3:] == ["egress {}", "}"]


def test_tiers_and_orders() -> None:
    later = (
        GUARD.replace("guard", "later")
        + "  tier: first\n  order: 7.5\n  ingress: [ { action: Pass } ]\n---\n"
    )
    early = GUARD + "  tier: first\n  order: 2\n  selector: has(a) || has(b)\n---\n"
    result, sink = imported(TIER + later + early + DB)
    assert not sink.diagnostics
    assert "tiers first > default > profiles" in result
    names = [line.split()[1] for line in result.splitlines() if line.startswith("policy ")]
    assert names == ["guard", "guard-2", "later", "shop-db", "undecided"]
    engines.load(result, {})


PROFILE = (
    API
    + """kind: Profile
metadata: { name: kns.shop }
spec: { ingress: [ { action: Allow } ], egress: [ { action: Allow } ] }
"""
)
WRONG = {
    DB + "  ingress:\n  - action: Accept\n": ("E1004", 7),
    DB + "  ingress: [ { action: Allow, destination: { ports: [ 80 ] } } ]\n": ("E1004", 6),
    DB + "  ingress: [ { action: Allow, source: { nets: [ 10.0.0.0/33 ] } } ]\n": ("E1004", 6),
    DB.replace("app == 'db'", "app = 'db'"): ("E1004", 1),
    DB.replace("app == 'db'", "app contains 'd'"): ("E1002", 1),
    DB + "  ingress: [ { action: Allow, protocol: TCP, destination: { ports: [ http ] } } ]\n": ("E1002", 1),
    DB + "  ingress: [ { action: Allow, http: { methods: [ GET ] } } ]\n": ("E1002", 1),
    GUARD + "  preDNAT: true\n": ("E1002", 1),
    GUARD + "  tier: nowhere\n": ("E1003", 5),
    PROFILE.replace("egress: [ { action: Allow } ]", "egress: [ { action: Deny } ]"): ("E1002", 1),
    API + "kind: HostEndpoint\nmetadata: { name: h }\n": ("E1002", 1),
    DB.replace("v3", "v9"): ("E1007", 1),
    DB + "  ordr: 7\n": ("W1011", 6),
    DB + "---\n" + API + "kind: IPPool\n": ("W1010", 7),
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_has_its_place(text: str) -> None:
    _, sink = imported(text)
    assert [(d.code, d.labels[0].span.line) for d in sink.diagnostics] == [WRONG[text]]


def test_a_profile_that_lets_everything_through_says_nothing_new() -> None:
    _, sink = imported(DB + "---\n" + PROFILE)
    assert not sink.diagnostics


def test_the_command(tmp_path: Path) -> None:
    path, out = tmp_path / "db.yaml", tmp_path / "db.gate"
    path.write_text(DB)
    with pytest.raises(SystemExit) as stopped:
        main(["import", "calico", str(path), "-o", str(out)])
    assert stopped.value.code == 0 and "policy shop-db" in out.read_text()
