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


@pytest.mark.parametrize(("text", "count"), PLACES)
def test_names_of_interfaces_are_found_in_sums(text: str, count: int) -> None:
    assert named(f"{HEAD}{text}\n", "lan") == [2] * count
