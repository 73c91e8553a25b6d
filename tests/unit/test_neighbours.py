"""W0530: silent where it would be noise, and what it says where it is not."""

from pathlib import Path

import pytest

from lockgate.compiler import fixes
from lockgate.compiler.diagnostics import Diagnostic
from lockgate.compiler.driver import Session

P = Path("p.gate")


def warned(text: str) -> list[Diagnostic]:
    with Session(P, read_file=lambda p: text.encode() if p == P else p.read_bytes()) as session:
        session.analyse()
        return [d for d in session.sink.diagnostics if d.code == "W0530"]


def xdp(rules: str, default: str = "drop", device: str = "eth0") -> str:
    return f'policy edge at xdp on "{device}" {{\n  default {default}  fragments first-only\n  {rules}\n}}\n'


@pytest.mark.parametrize(
    ("rules", "forgotten"),
    [
        ("pass tcp to port 22", "ARP and neighbour discovery"),
        ("pass tcp from 192.0.2.0/24", "ARP"),
        ("pass tcp from 2001:db8::/32", "neighbour discovery"),
        ("pass arp pass tcp", "neighbour discovery"),
        ("pass icmp6 pass tcp", "ARP"),
        ("pass ip4", "ARP"),
        ("drop udp pass tcp", "ARP and neighbour discovery"),
    ],
)
def test_what_is_forgotten(rules: str, forgotten: str) -> None:
    (d,) = warned(xdp(rules))
    assert d.message == f"`default drop` at xdp also drops {forgotten}"
    assert d.labels[0].span.text == "default drop"
    assert d.witness == f"{'arp' if 'ARP' in forgotten else d.witness.split('   ')[0]}   drop by default"


@pytest.mark.parametrize(
    "text",
    [
        xdp("pass tcp to port 22", default="pass"),
        xdp("pass tcp to port 22", device="lo"),
        xdp("drop udp"),  # nothing is let through: a quarantine
        xdp("pass arp pass icmp6 pass tcp"),
        xdp("drop arp drop icmp6 type neighbour-solicit pass tcp"),  # meant
        xdp("pass arp pass icmp6 type { neighbour-solicit, neighbour-advert } from fe80::/10 pass tcp"),
        xdp("pass"),
        'policy out at connect for cgroup "/a" { default reject allow tcp }\n',
    ],
)
def test_where_it_is_silent(text: str) -> None:
    assert warned(text) == []


def test_each_direction_has_its_own_and_the_fix_goes_into_its_block() -> None:
    blocks = "ingress { allow tcp }\n  egress { allow udp allow arp }"
    text = f'policy h at tc on "eth0" {{\n  default drop\n  {blocks}\n}}\n'
    found = warned(text)
    assert [d.message for d in found] == [
        "`default drop` at tc ingress also drops ARP and neighbour discovery",
        "`default drop` at tc egress also drops neighbour discovery",
    ]
    assert [len(d.fixes) for d in found] == [1, 1] and not any(d.fixes[0].sure for d in found)
    assert warned(fixes.edited(text, [d.fixes[0] for d in found])) == []
