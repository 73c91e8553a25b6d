"""The kernel's own judge of `import iptables-save` where rules ask for connections: a dump loaded by iptables
in one namespace, what becomes of it in another, the same calls in and out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lockgate.compiler.diagnostics import Sink
from lockgate.compiler.importers import iptables
from lockgate.compiler.render import render
from lockgate.compiler.source import Source
from tests import netns, pods
from tests.conftest import tool

from .test_nftables_life import lockgate

pytestmark = pytest.mark.kernel

DUMP = """\
*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:calls - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
{first}
-A INPUT -p tcp -m state --state NEW -m multiport --dports 80,443 -j calls
-A INPUT -p udp -m udp --dport 81 -j ACCEPT
{out}
-A calls ! -s {peer} -j DROP
-A calls -j ACCEPT
COMMIT
"""
OUT = "-A OUTPUT -m state --state RELATED,ESTABLISHED -j ACCEPT\n-A OUTPUT -p tcp --dport 81 -j DROP"
DUMPS = {
    "in": ("-A INPUT -m conntrack --ctstate INVALID -j DROP", ""),
    "in and out": ("-A INPUT -m conntrack --ctstate INVALID -j DROP", OUT),
    "new alone": ("", OUT),
}


@dataclass
class Host:
    """Both ends of a pair, each with a process that serves and calls."""

    pair: netns.Pair
    inner: pods.Pod
    outer: pods.Pod

    def calls(self) -> list[bool]:
        """Which calls of each are answered by the other."""
        asked = [(kind, port) for kind in ("tcp", "udp") for port in pods.PORTS]
        into = self.outer.calls([(kind, self.pair.inner4, port) for kind, port in asked])
        return into + self.inner.calls([(kind, self.pair.outer4, port) for kind, port in asked])


@contextmanager
def host() -> Iterator[Host]:
    with netns.pair() as pair:
        both = [
            pods.Pod(n, n, n, "", a, "") for n, a in ((pair.inner, pair.inner4), (pair.outer, pair.outer4))
        ]
        try:
            for pod in both:
                pod.agent = netns.python(pod.space, pods.AGENT, json.dumps(pods.PORTS))
            for pod in both:
                assert pod.agent is not None and pod.agent.stdout is not None
                assert pod.agent.stdout.readline() == "ready\n"
            yield Host(pair, *both)
        finally:
            for pod in both:
                if pod.agent is not None:
                    pod.agent.kill()
                    pod.agent.communicate()


def imported(dump: str, devices: Sequence[str]) -> tuple[str | None, Sink]:
    sink = Sink()
    return iptables.imported([Source("rules", dump)], iptables.settings(devices, [], False), sink), sink


@pytest.mark.parametrize("name", DUMPS)
@pytest.mark.parametrize("known", [True, False])
def test_calls_are_those_that_the_kernel_lets_be(name: str, known: bool, bpffs: Path, tmp_path: Path) -> None:
    tool("iptables-legacy-restore")
    with host() as theirs, host() as ours:
        first, out = DUMPS[name]
        dump = DUMP.format(first=first, out=out, peer=theirs.pair.outer4 if known else "198.51.100.7")
        text, sink = imported(dump, [theirs.pair.inner_if])
        assert text is not None and not sink.diagnostics, render(sink.diagnostics)
        restore = netns.inside(theirs.pair.inner, "iptables-legacy-restore", str(tmp_path / "dump"))
        (tmp_path / "dump").write_text(dump)
        netns.run(*restore)
        policy, people = tmp_path / "host.gate", tmp_path / "people.json"
        policy.write_text(text)
        me = {"name": "me", "kind": "host", "addresses": [ours.pair.inner4], "interfaces": [ours.pair.target]}
        people.write_text(json.dumps({"endpoints": [me]}))
        there = ("--bpffs", str(bpffs))
        lockgate("up", str(policy), "--endpoints", str(people), *there)
        try:
            wanted, got = theirs.calls(), ours.calls()
        finally:
            lockgate("down", "host", *there)
        assert got == wanted, text
        assert wanted[0] == known and not wanted[1] and wanted[3]
        assert wanted[5] == (not out)
