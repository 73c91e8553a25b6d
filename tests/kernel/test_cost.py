"""The command `cost` as root: it measures the packets that it says, beside the rules that it says. No figure
is compared with another."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from lockgate import cli
from lockgate.compiler.decision import DEFAULT
from lockgate.compiler.driver import Session
from lockgate.cost import measure, peers
from lockgate.cost.samples import Sample, Sampler, filled
from lockgate.engines import prefixes
from lockgate.runtime import bundle as bundles
from lockgate.runtime import callcost, coldrun, testrun
from lockgate.runtime.sys import bpf, netns
from lockgate.runtime.sys.link import loopback_up
from lockgate.stdlib_bpf import hooks
from lockgate.stdlib_bpf.decode.frame import Frame

from ..conftest import tool
from ..engines import worker

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("no_leaked_descriptors")]

POLICY = """
network list = { 10.0.0.0/8, 192.0.2.0/24, 198.51.100.7, 2001:db8::/32 }
network ban = dynamic max 64
policy p at xdp on "lo" {
  fragments first-only
  default pass
  listed: drop from list
  banned: drop from ban
  odd:    drop tcp flags syn,fin/syn,fin
  web:    pass tcp to port { 80, 443, 8000-8080 } count web
  ports:  drop udp from any port { 1-3, 5, 7, 9, 11, 13, 15, 17, 19, 21 } to not list
  ping:   drop icmp type echo-request
}
"""


def drawn(session: Session, count: int) -> tuple[list[Sample], list[bytes]]:
    """Packets of the only chain, and their frames."""
    (chain,) = session.unit.chains
    samples = Sampler(session, chain, filled(session, chain, 50)).mix(count)
    return samples, [one.packet.data for one in samples if isinstance(one.packet, Frame)]


def test_packets_are_decided_in_the_kernel_as_predicted(tmp_path: Path) -> None:
    path = tmp_path / "p.gate"
    path.write_text(POLICY)
    with Session(path, worker=worker()) as session:
        (chain,) = session.unit.chains
        samples, frames = drawn(session, 512)
        assert {one.rule for one in samples} == {DEFAULT, *range(6)}
        wanted = Counter(one.rule + 2 for one in samples)
        with testrun.load_chain(bundles.parse(session.bundle()), "p") as loaded:
            for name, contents in filled(session, chain, 50).items():
                loaded.set_live(name, list(prefixes(contents)))
            stamps = measure.stamps(frames)
            xdp = hooks.ALL["xdp"]
            with coldrun.stamping(loaded.program(), stamps, coldrun.WHOLE_FRAME, xdp) as front:
                bpf.test_run(front, frames[0], len(frames))
            counted = loaded.counters()
        deciding = range(1, 2 + len(chain.rules))
        assert {slot: counted[slot][0] for slot in deciding} == {slot: wanted[slot] for slot in deciding}
        assert counted[0] == (0, 0), "malformed"


def _nft() -> list[int]:
    listed = subprocess.run(["nft", "-j", "list", "ruleset"], capture_output=True, text=True, check=True)
    rules = [one["rule"] for one in json.loads(listed.stdout)["nftables"] if "rule" in one]
    return [part["counter"]["packets"] for rule in rules for part in rule["expr"] if "counter" in part]


def _iptables() -> list[int]:
    counts = []
    for command in ("iptables-legacy-save", "ip6tables-legacy-save"):
        saved = subprocess.run(
            [command, "-c", "-t", "raw"], capture_output=True, text=True, check=True
        ).stdout
        lines = [line for line in saved.splitlines() if "-A PREROUTING" in line]
        counts += [int(line[1:].partition(":")[0]) for line in lines]
        counts.pop()  # the default
    return counts


@pytest.mark.parametrize(("name", "counted"), [("nftables", _nft), ("iptables and ipset", _iptables)])
def test_peers_find_the_same_rules(tmp_path: Path, name: str, counted: object) -> None:
    peer = peers.ALL[name]
    for wanted_tool in peer.tools:
        tool(wanted_tool)
    path = tmp_path / "p.gate"
    path.write_text(POLICY)
    with Session(path) as session:
        (chain,) = session.unit.chains
        samples, frames = drawn(session, 512)
        said = peer.say(session.match(chain), filled(session, chain, 50))
    assert said.unsaid == {}
    up = coldrun.constant("pass", hooks.ALL["xdp"])
    stamps = measure.stamps(peers.to_loopback(frames))
    front = coldrun.stamping(up, stamps, coldrun.WHOLE_FRAME, hooks.ALL["xdp"])
    with netns.Nameless() as place, place.inside(), up, front as program:
        loopback_up()
        assert peers.load(said) is None
        bpf.test_run(program, frames[0], len(frames), live=True)
        found: Counter[int] = Counter()
        for rule, packets in zip(said.lines, counted(), strict=name != "nftables"):  # type: ignore[operator]
            found[rule] += packets
    assert found == Counter(one.rule for one in samples if one.rule != DEFAULT)


def test_rules_that_a_tool_refuses_are_told(tmp_path: Path) -> None:
    tool("nft")
    path = tmp_path / "p.gate"
    path.write_text(POLICY)
    with Session(path) as session:
        (chain,) = session.unit.chains
        _, frames = drawn(session, 8)
        nonsense = peers.Said(((("nft", "-f", "-"), "rubbish"),), (), {})
        broken = peers.Peer(("nft",), lambda program, live: nonsense)
        told = peers.priced(broken, session.match(chain), {}, {"a": frames})
        assert (told.failed or "").startswith("nft: ")
        missing = peers.Peer(("no-such-tool",), lambda program, live: nonsense)
        told = peers.priced(missing, session.match(chain), {}, {"a": frames})
        assert told.failed == "no-such-tool is not installed"


@pytest.mark.parametrize("example", ["connect", "host", "redirect"])
def test_the_command_measures(
    example: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coldrun, "SLICE_NS", 1)
    monkeypatch.setattr(callcost, "CALLS", 8)
    assert _run("cost", f"examples/{example}/policy.gate", "--quick", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["note"] is None
    for chain in found["chains"]:
        assert set(chain["measured"]["ns"]) == set(chain["predicted"]["ns"]) == {"typical", "worst"}
        assert chain["measured"]["bytes"] > 0
        assert set(chain["peers"]) == (set() if example == "connect" else set(peers.ALL))
    if example == "redirect":
        assert found["chains"][0]["left_out"] > 0
    assert _run("cost", f"examples/{example}/policy.gate", "--quick") == 0
    assert "measured" in capsys.readouterr().out


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(list(arguments))
    return int(stop.value.code or 0)


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    before = _inventory()
    assert _run("cost", "examples/host/policy.gate", "--quick", "--json") == 0
    assert _inventory() == before


def _inventory() -> Sequence[object]:
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False).stdout
    namespaces = [path.name for path in Path("/run/netns").glob("*")] if Path("/run/netns").exists() else []
    return (tables, sorted(name for name in namespaces if name.startswith("lg-cost")), netns.inode(None))
