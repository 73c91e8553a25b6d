"""Trees and policies print and read back, and what is read back means the same."""

import inspect

import pytest

from lockgate.compiler import nodetext, policy
from lockgate.compiler.diagnostics import Sink
from lockgate.compiler.policy import model
from lockgate.compiler.source import Source
from lockgate.compiler.syntax import parse, tree
from lockgate.stdlib_bpf.decode.frame import Malformed
from lockgate.stdlib_bpf.decode.sock_addr import SocketCall

TEXT = """
network bad = { 203.0.113.0/24, 2001:db8:bad::/48 } - 203.0.113.7
network ban = dynamic max 8
policy edge at xdp on "eth0" {
  default pass  fragments first-only
  a: drop tcp from bad + ban port 1-9 to port { 22, 80 } flags syn/syn,ack count c
  drop icmp type echo-request log
}
test "t" of edge { given ban = 192.0.2.1  expect drop tcp from 192.0.2.1 port 5 to port 22 by a }
"""


def classes(module: object) -> list[type]:
    return [c for _, c in inspect.getmembers(module, inspect.isclass)]


@pytest.fixture
def source() -> Source:
    return Source("t.gate", TEXT)


def test_tree_reads_back(source: Source) -> None:
    module = parse(source, Sink())
    text = nodetext.write(module)
    again = nodetext.read(text, source, classes(tree))
    assert again == module
    assert nodetext.write(again) == text


def test_policy_reads_back(source: Source) -> None:
    unit = policy.load(source, Sink())
    text = nodetext.write(unit)
    again = nodetext.read(text, source, [*classes(model), SocketCall])
    assert nodetext.write(again) == text
    facts = {"eth.type": 0x800, "ip.proto": 1, "l4.proto": 1, "icmp.type": 8, "ip4.src": 1, "ip4.dst": 2}
    for packet in (facts, Malformed("cut")):
        assert policy.decide(again.chains[0], packet, {}) == policy.decide(unit.chains[0], packet, {})


@pytest.mark.parametrize("text", ["Policy(", "open('x')", "Rule(nonsense=1)", "__import__('os')", "1 + 1"])
def test_nothing_else_is_read(text: str, source: Source) -> None:
    with pytest.raises(nodetext.NodeTextError):
        nodetext.read(text, source, classes(model))
