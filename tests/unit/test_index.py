"""Which places of a policy name what: the index behind definition, references and rename."""

from pathlib import Path

import pytest

from lockgate.compiler.lsp.view import View
from lockgate.compiler.source import Source
from tests.unit.front import reader

P = Path("p.gate")
HEAD = 'interface lan = { "eth0", "eth1" }\n'
PLACES = [
    ('interface other = "tap0" + lan - { lan, "eth1" }', 2),
    ("policy p at tc on lan - lan { }", 2),
    ('policy p at tc on { "tap0", lan } { ingress { mirror arp into "tap0" + lan } }', 2),
    ('policy p at tc on "e" { ingress { use t(lan + "tap0") use t({ lan }) } }', 2),
]


def named(text: str, name: str) -> list[int]:
    """Lines of the places that name a declaration, itself left out."""
    view = View(Source("p.gate", text, P), reader({}))
    declared = next(o for o in view.index.occurrences if o.declares and o.symbol.name == name)
    return [o.span.line for o in view.index.of(declared.symbol) if not o.declares]


NETWORKS = [
    ('policy p at xdp on "e" { drop if ip4.src == lan or not arp.spa in { 10.0.0.1, lan } }', 2),
    ('policy p at xdp on "e" { drop if ip.dscp == lan and eth.type in { lan } and nothing == lan }', 0),
    ('test "t" of p { expect drop if ip6.src == lan assert drop if ip4.dst in lan }', 2),
    ("template t(n: network) { drop if ip4.src in lan and ip4.dst in n }", 1),
    ("template t(lan: network) { drop if ip4.src in lan }", 0),
]


@pytest.mark.parametrize(("text", "count"), NETWORKS)
def test_names_of_networks_are_found_in_conditions(text: str, count: int) -> None:
    assert named(f"network lan = 192.0.2.0/24\n{text}\n", "lan") == [2] * count


def test_names_of_interfaces_are_found_in_conditions() -> None:
    text = 'policy p at xdp on "e" { drop if meta.iif == lan or meta.iif in { "eth2", lan } }'
    assert named(f"{HEAD}{text}\n", "lan") == [2, 2]


@pytest.mark.parametrize(("text", "count"), PLACES)
def test_names_of_interfaces_are_found_in_sums(text: str, count: int) -> None:
    assert named(f"{HEAD}{text}\n", "lan") == [2] * count
