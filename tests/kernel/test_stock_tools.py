"""The ELF objects inside a bundle load with the tools every distribution has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lockgate.runtime import bundle as bundles

from .. import engines, netns
from ..conftest import tool
from .actions import udp_arrivals
from .policies import TCP, UDP, Live, bundle, chain, nets, rule

pytestmark = pytest.mark.kernel


def _objects(tmp_path: Path, target: str) -> dict[str, Path]:
    many = nets(*(f"10.{i // 250}.{i % 250}.0/24" for i in range(1000)), "2001:db8:1::/48")
    bans = Live("bans", 10)  # empty in a stock loader's hands
    rules = (
        rule("drop", "many", src=many),
        rule("drop", "no-syslog", proto=UDP, dport=514, sample=1),
        rule("drop", "banned", src=bans),
        rule("drop", "no-bans", dst=bans),
    )
    data = bundle(
        "stock",
        chain("x", "xdp", target, "pass", *rules),
        chain("t", "tc", target, "allow", *rules, direction="ingress"),
        chain("c", "connect", "some", "allow", rule("reject", "no-web", proto=TCP, dport=80)),
    )
    whole = bundles.parse(data)
    out = {}
    for item in whole.manifest.chains:
        path = tmp_path / f"{item.policy}.o"
        path.write_bytes(whole.members[item.object])
        out[item.policy] = path
    return out


@pytest.mark.parametrize("which", ["x", "t", "c"])
def test_bpftool_loads_them_and_shows_policy_lines(bpffs: Path, tmp_path: Path, which: str) -> None:
    bpftool = tool("bpftool")
    object_ = _objects(tmp_path, "nowhere")[which]
    pinned = bpffs / "stock"
    netns.run(bpftool, "prog", "loadall", str(object_), str(pinned))
    try:
        programs = sorted(pinned.iterdir())
        assert len(programs) == (4 if which == "c" else 1)
        for program in programs:
            dump = netns.run(bpftool, "prog", "dump", "xlated", "pinned", str(program), "linum").stdout
            assert "; rule number 0001" in dump
            assert "stock.gate" in dump
            shown = json.loads(netns.run(bpftool, "-j", "prog", "show", "pinned", str(program)).stdout)
            assert shown["btf_id"] > 0
    finally:
        for program in pinned.iterdir():
            program.unlink()
        pinned.rmdir()


def test_ip_attaches_the_xdp_object(pair: netns.Pair, tmp_path: Path, bpffs: Path) -> None:
    ip = tool("ip")
    object_ = _objects(tmp_path, "nowhere")["x"]
    netns.run(
        ip,
        "-n",
        pair.inner,
        "link",
        "set",
        "dev",
        pair.inner_if,
        "xdp",
        "obj",
        str(object_),
        "sec",
        "xdp.frags",
    )
    assert udp_arrivals(pair.inner, pair.outer, pair.inner4, 514) == 0
    assert udp_arrivals(pair.inner, pair.outer, pair.inner4, 515) == 3
    netns.run(ip, "-n", pair.inner, "link", "set", "dev", pair.inner_if, "xdp", "off")
    assert udp_arrivals(pair.inner, pair.outer, pair.inner4, 514) == 3


def test_tc_attaches_the_tc_object(pair: netns.Pair, tmp_path: Path, bpffs: Path) -> None:
    tc = tool("tc")
    object_ = _objects(tmp_path, "nowhere")["t"]
    netns.run(tc, "-n", pair.inner, "qdisc", "add", "dev", pair.inner_if, "clsact")
    filter_ = (
        "filter",
        "add",
        "dev",
        pair.inner_if,
        "ingress",
        "bpf",
        "da",
        "obj",
        str(object_),
        "sec",
        "tc",
    )
    netns.run(tc, "-n", pair.inner, *filter_)
    assert udp_arrivals(pair.inner, pair.outer, pair.inner4, 514) == 0
    assert udp_arrivals(pair.inner, pair.outer, pair.inner4, 515) == 3


def test_bpftool_loads_a_list_in_parts(bpffs: Path, tmp_path: Path) -> None:
    """Its functions call one another, and each carries the lines of its rules."""
    rules = "\n".join(f"drop tcp to port {port} if ip.ttl == {port}" for port in range(1, 101))
    text = f'policy p at xdp on "lo" {{ fragments first-only default pass\n{rules}\n}}\n'
    with engines.Opened(engines.Case(text, (), part_insns=500)) as opened:
        whole = bundles.parse(opened.session.bundle())
        count = len(opened.session.plan(opened.chain).parts)
    (item,) = whole.manifest.chains
    path, pinned = tmp_path / "p.o", bpffs / "parts"
    path.write_bytes(whole.members[item.object])
    bpftool = tool("bpftool")
    netns.run(bpftool, "prog", "loadall", str(path), str(pinned))
    try:
        (program,) = pinned.iterdir()
        dump = netns.run(bpftool, "prog", "dump", "xlated", "pinned", str(program), "linum").stdout
        assert count > 2
        assert all(f"p_part{number}" in dump for number in range(count))
        assert "; drop tcp to port 100 if ip.ttl == 100" in dump
    finally:
        for program in pinned.iterdir():
            program.unlink()
        pinned.rmdir()
