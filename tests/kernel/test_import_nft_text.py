"""Rules in nft's own language come in as its JSON does: by nft, in a network namespace that ends with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import netns

from .test_nftables_life import lockgate

pytestmark = pytest.mark.kernel

RULES = """\
# Behind the device authentication_service_of_ours nothing is dropped.
define web = {{ 80, 443 }}
include "./{included}"
table inet t {{
  set admins {{ type ipv4_addr; flags interval; elements = {{ 192.0.2.0/24 }} }}
  chain c {{
    type filter hook input priority 0; policy drop;
    ip saddr @admins tcp dport 22 accept
    tcp dport $web accept
  }}
}}
"""
INCLUDED = """\
table netdev n {
  chain i {
    type filter hook ingress devices = { eth0, "eth1" } priority 0; policy accept;
    udp dport 9 drop
  }
  chain j { type filter hook ingress device eth2 priority 1; policy accept; udp dport 7 drop
  }
}
"""


def listing(path: Path, *devices: str) -> str:
    """What nft lists when a namespace holds the rules of a file."""
    space = netns.unique()
    netns.run("ip", "netns", "add", space)
    try:
        for device in devices:
            netns.run("ip", "-n", space, "link", "add", device, "type", "veth")
        netns.run("sh", "-c", f"cd {path.parent} && nsenter --net=/run/netns/{space} nft -f {path}")
        return netns.run(*netns.inside(space, "nft", "-j", "list", "ruleset")).stdout
    finally:
        netns.run("ip", "netns", "del", space)


def imported(path: Path) -> str:
    return lockgate("import", "nft", str(path), "--device", "eth0")


def same(path: Path, *devices: str) -> str:
    """What is made of a file, which is what is made of its JSON."""
    text = imported(path)
    other = path.parent / "json" / path.name
    other.parent.mkdir()
    other.write_text(listing(path, *devices))
    assert other.read_text().startswith("{") and imported(other) == text
    return text


def test_words_of_nft(tmp_path: Path) -> None:
    (tmp_path / "included.nft").write_text(INCLUDED)
    path = tmp_path / "rules.nft"
    path.write_text(RULES.format(included="included.nft"))
    text = same(path, "eth0", "eth1", "eth2")
    assert "pass tcp from admins to port 22" in text and "pass tcp to port { 80, 443 }" in text
    assert text.count("drop udp to port") == 2


def test_what_our_back_end_writes(tmp_path: Path) -> None:
    policy, path = tmp_path / "edge.gate", tmp_path / "edge.nft"
    policy.write_text(
        'policy edge at tc on "eth0" { default drop  ingress { web: allow tcp to port 80  drop udp } }\n'
    )
    lockgate("build", "--target", "nftables", str(policy), "-o", str(path))
    assert "tcp" in same(path, "eth0")


def test_what_nft_refuses(tmp_path: Path) -> None:
    path = tmp_path / "rules.nft"
    path.write_text("table inet t {\n  chain c { tcp dport 22 acept\n  }\n}\n")
    before = netns.run("nft", "list", "ruleset").stdout
    said = lockgate("import", "nft", str(path), "--device", "eth0", code=2)
    assert f"nft cannot read `{path}`" in said and f"{path}:2:" in said
    assert netns.run("nft", "list", "ruleset").stdout == before
