"""The reference meaning on cases that are easy to get wrong."""

import pytest

from lockgate.compiler import packet
from lockgate.compiler.policy import decide
from lockgate.stdlib_bpf.decode import frame, sock_addr
from lockgate.stdlib_bpf.decode.frame import Malformed
from tests.unit.front import connect, unit, xdp


def verdict(rule: str, text: str, head: str = "", **live: str) -> bool:
    """Whether a rule that drops takes a packet."""
    built = unit(head + xdp(rule))
    contents = unit(
        "".join(f"network {n} = {v}\n" for n, v in live.items())
        + "".join(xdp(f"drop from {n}").replace("edge", f"x{n}").replace("eth0", n) for n in live)
    )
    filled = {n: c.rules[0].src for n, c in zip(live, contents.chains, strict=True)}
    return decide(built.chains[0], frame.decode(packet.parse(text)), filled).verdict == "drop"


CASES = [
    ("drop from 10.0.0.0/8", "tcp 10.255.255.255 > 1.1.1.1", True),
    ("drop from 10.0.0.0/8", "tcp 11.0.0.0 > 1.1.1.1", False),
    ("drop from not 10.0.0.0/8", "tcp 11.0.0.0 > 1.1.1.1", True),
    ("drop from not 10.0.0.0/8", "tcp [2001:db8::1] > [2001:db8::2]", False),  # the other family
    ("drop from not ::/1", "tcp 11.0.0.0 > 1.1.1.1", False),
    ("drop from any", "arp", False),
    ("drop from not 10.0.0.0/8", "arp", False),
    ("drop ip", "arp", False),
    ("drop arp", "arp", True),
    ("drop tcp flags syn, fin", "tcp 1.1.1.1 > 2.2.2.2 syn,ack", True),
    ("drop tcp flags syn/syn,ack", "tcp 1.1.1.1 > 2.2.2.2 syn,ack", False),
    ("drop tcp flags syn/syn,ack", "tcp 1.1.1.1 > 2.2.2.2 syn,psh", True),
    ("drop tcp from any port 4000 to any port 80", "tcp 1.1.1.1:4000 > 2.2.2.2:80", True),
    ("drop tcp from any port 4000 to any port 80", "tcp 1.1.1.1:80 > 2.2.2.2:4000", False),
    ("drop icmp type 8", "icmp", True),
    ("drop icmp type 8", "icmp6 type 8", False),
    ("drop tcp, udp to port 80", "sctp 1.1.1.1 > 2.2.2.2:80", False),
    ("drop from 10.0.0.0/8 - 10.1.0.0/16 + 10.1.2.0/24", "tcp 10.1.2.3 > 1.1.1.1", True),
    ("drop from 10.0.0.0/8 - 10.1.0.0/16 + 10.1.2.0/24", "tcp 10.1.3.3 > 1.1.1.1", False),
]


@pytest.mark.parametrize(("rule", "text", "dropped"), CASES)
def test_meaning(rule: str, text: str, dropped: bool) -> None:
    assert verdict(rule, text) is dropped


def test_dynamic_sets() -> None:
    head = "network ban = dynamic max 9\n"
    assert verdict("drop from ban", "tcp 10.0.0.1 > 1.1.1.1", head, ban="10.0.0.0/8")
    assert not verdict("drop from ban", "tcp 10.0.0.1 > 1.1.1.1", head)
    assert verdict("drop from not ban", "tcp 10.0.0.1 > 1.1.1.1", head)


def test_order_default_and_malformed() -> None:
    chain = unit(xdp("drop tcp\npass ip")).chains[0]
    assert decide(chain, frame.decode(packet.parse("tcp")), {}).rule == 0
    assert decide(chain, frame.decode(packet.parse("udp")), {}).rule == 1
    assert decide(chain, frame.decode(packet.parse("arp")), {}).rule == -1
    malformed = decide(chain, Malformed("cut"), {})
    assert (malformed.verdict, malformed.rule) == ("drop", -2)


def test_mapped_addresses_are_judged_as_ipv4_at_connect() -> None:
    chain = unit(connect("reject tcp to 10.0.0.0/8")).chains[0]
    call = packet.parse("connect tcp [::ffff:10.0.0.1]:80")
    assert decide(chain, sock_addr.decode(call), {}).verdict == "reject"
