"""The kernel's own judge of `import iptables-save`: a rule set loaded by iptables in one namespace, what we
make of it in another, the same frames through both, and the counter of each rule compared.

Rules are random (`properties/rulesets.py`), with user chains, gotos and returns. INPUT is met by frames for
addresses that are all local, FORWARD by frames that are routed to another device. The classic iptables is
asked, whose rules look where ours do: the one over nftables reads ports of later fragments out of their
payload, as `test_nftables.py` shows.
"""

from __future__ import annotations

import random
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lockgate.compiler.diagnostics import Sink
from lockgate.compiler.importers import iptables
from lockgate.compiler.render import render
from lockgate.compiler.source import Source
from lockgate.runtime import bundle, counters, running, swap
from tests import engines, netns
from tests.conftest import tool
from tests.properties import rulesets
from tests.properties.packets import Maker

from .actions import up

pytestmark = pytest.mark.kernel

FRAMES = 200
NAME = "input"
OUT, BEHIND = "out0", "out1"
MAC = "02:00:00:00:00:02"
_COUNTED = re.compile(r"\[(\d+):\d+\] -A (\S+)")
_POLICY = re.compile(r":(\S+) (?:ACCEPT|DROP) \[(\d+):")
_ORIGIN = re.compile(r"# (?:\d+ > )*(\d+)(?::.*)?$")
DECIDES = ("ACCEPT", "DROP", "REJECT")

SEND = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
s.bind((sys.argv[1], 0))
for line in sys.stdin:
    s.send(bytes.fromhex(line))
"""


@dataclass(frozen=True)
class Host:
    """A namespace that takes or forwards everything which arrives at `inside`."""

    pair: netns.Pair
    family: int

    @property
    def name(self) -> str:
        """Of the namespace."""
        return self.pair.inner

    def run(self, *command: str, text: str | None = None) -> str:
        """Run a tool there."""
        done = subprocess.run(
            netns.inside(self.name, *command),
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}\n{text}"
        return done.stdout

    def send(self, frames: Sequence[bytes]) -> None:
        """Frames to its device."""
        sender = netns.python(self.pair.outer, SEND, self.pair.outer_if)
        _, complaints = sender.communicate("".join(frame.hex() + "\n" for frame in frames), timeout=60)
        assert sender.returncode == 0, complaints


@contextmanager
def host(family: int, forwards: bool) -> Iterator[Host]:
    """A host without any address but those of the test."""
    with netns.pair() as pair:
        made = Host(pair, family)
        device = pair.inner_if
        for name, link in ((pair.inner, device), (pair.outer, pair.outer_if)):
            netns.run("ip", "-n", name, "address", "flush", "dev", link)
            netns.run("ip", "-n", name, "link", "set", link, "mtu", "9000")
        netns.run(*netns.inside(pair.outer, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"))
        made.run("ip", "link", "set", device, "address", MAC)
        made.run("ip", "link", "add", OUT, "mtu", "9000", "type", "veth", "peer", BEHIND)
        made.run("ip", "link", "set", BEHIND, "up")
        made.run("ip", "link", "set", OUT, "arp", "off", "up")
        for key in ("all", "default", device, OUT):
            made.run(
                "sysctl", "-qw", f"net.ipv4.conf.{key}.rp_filter=0", f"net.ipv4.conf.{key}.accept_local=1"
            )
            made.run("sysctl", "-qw", f"net.ipv6.conf.{key}.accept_dad=0", f"net.ipv6.conf.{key}.accept_ra=0")
        word = [f"-{family}"]
        made.run("ip", *word, "route", "add", "default", "dev", OUT)
        if forwards:
            made.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        else:
            made.run("ip", *word, "route", "add", "local", "default", "dev", "lo", "table", "100")
            made.run("ip", *word, "rule", "add", "pref", "1", "iif", device, "lookup", "100")
        yield made


class Judge:
    """One host for iptables and one for us."""

    def __init__(self, theirs: Host, ours: Host, chain: str, bpffs: Path, tmp_path: Path) -> None:
        self.theirs, self.ours, self.chain, self.bpffs, self.folder = theirs, ours, chain, bpffs, tmp_path
        self.family = theirs.family
        self.restore = "iptables-legacy-restore" if self.family == 4 else "ip6tables-legacy-restore"
        self.save = self.restore.replace("restore", "save")
        theirs.run("ipset", "restore", text=rulesets.SET_TEXT[self.family])

    def imported(self, dump: str) -> str:
        """What we make of a dump."""
        device = self.theirs.pair.inner_if if self.chain == "INPUT" else OUT
        sink = Sink()
        sources = [Source("rules", dump), Source("sets", rulesets.SET_TEXT[self.family])]
        text = iptables.imported(sources, iptables.settings([device], [], False), sink)
        assert text is not None and not sink.diagnostics, render(sink.diagnostics)
        return text.replace(f'on "{device}"', f'on "{self.ours.name}/{device}"')

    def counted_by_kernel(self, dump: str, frames: Sequence[bytes]) -> Counter[int]:
        """Packets by the line of the rule that decided them, or of the policy."""
        self.theirs.run(self.restore, text=dump)
        self.theirs.send(frames)
        saved = self._settled(lambda: self.theirs.run(self.save, "-c", "-t", "filter"))
        lines = dump.split("\n")
        found: Counter[int] = Counter()
        number: Counter[str] = Counter()
        places: dict[tuple[str, int], int] = {}
        for at, line in enumerate(lines, 1):
            if line.startswith("-A "):
                chain = line.split()[1]
                places[chain, number[chain]] = at
                number[chain] += 1
        number.clear()
        for line in saved.split("\n"):
            if (policy := _POLICY.match(line)) is not None and policy[1] == self.chain:
                found[next(i for i, text in enumerate(lines, 1) if text.startswith(f":{self.chain} "))] += (
                    int(policy[2])
                )
            if (rule := _COUNTED.match(line)) is None:
                continue
            at = places[rule[2], number[rule[2]]]
            number[rule[2]] += 1
            if any(f"-j {word}" in line for word in DECIDES):
                found[at] += int(rule[1])
        return +found

    def counted_by_us(self, text: str, frames: Sequence[bytes]) -> Counter[int]:
        """The same of our program: a rule counts for the last line in its comment."""
        path = self.folder / "p.gate"
        path.write_text(text)
        with engines.Opened(engines.Case(text, ())) as opened:
            data = opened.session.bundle()
            rules = opened.chain.rules
        name = bundle.parse(data).manifest.name
        up(data, self.bpffs)
        self.ours.send(frames)
        time.sleep(0.02)
        read = counters.read(running.find(self.bpffs, name))
        swap.down(name, self.bpffs)
        by_label = {c.slot.label: c.packets for c in read}
        found: Counter[int] = Counter()
        lines = text.split("\n")
        for rule in rules:
            end = rule.span.source.position(rule.span.end)[0]
            origin = next((o for at in (end, end - 1) if (o := _ORIGIN.search(lines[at - 1]))), None)
            if origin is not None and rule.verdict != "continue":
                found[int(origin[1])] += by_label[rule.name or rule.span.label]
        policy = next((o for line in lines if "default" in line and (o := _ORIGIN.search(line))), None)
        if policy is not None:
            found[int(policy[1])] += by_label["default"]
        return +found

    def _settled(self, look: object) -> str:
        """What is there when it does not change any more."""
        assert callable(look)
        before = ""
        for _ in range(100):
            now = str(look())
            if now == before:
                break
            before = now
            time.sleep(0.01)
        return before


@contextmanager
def judge(family: int, chain: str, bpffs: Path, tmp_path: Path) -> Iterator[Judge]:
    for name in ("iptables-legacy-restore", "ipset"):
        tool(name)
    forwards = chain == "FORWARD"
    with host(family, forwards) as theirs, host(family, forwards) as ours:
        yield Judge(theirs, ours, chain, bpffs, tmp_path)


def compared(family: int, chain: str, seeds: Sequence[int], bpffs: Path, tmp_path: Path) -> None:
    sent = decided = 0
    with judge(family, chain, bpffs, tmp_path) as both:
        for seed in seeds:
            rng = random.Random(seed)
            devices = (both.theirs.pair.inner_if, OUT, BEHIND)
            dump = rulesets.Rulesets(rng, family, chain, devices).dump()
            text = both.imported(dump)
            parsed = engines.load(text, {}).chains[0]
            maker = Maker(parsed, {}, rng)
            frames = rulesets.arriving(maker, family, chain == "FORWARD", FRAMES)
            theirs, ours = both.counted_by_kernel(dump, frames), both.counted_by_us(text, frames)
            if theirs != ours:
                raise AssertionError(_told(both, dump, text, frames))
            sent, decided = sent + len(frames), decided + sum(theirs.values())
    assert decided >= sent * 9 // 10, f"of {sent} frames {decided} came to a rule"


def _told(both: Judge, dump: str, text: str, frames: Sequence[bytes]) -> str:
    """A frame that they do not agree about, found by halves."""
    counted = both.counted_by_kernel(dump, frames), both.counted_by_us(text, frames)
    while len(frames) > 1:
        for half in (frames[: len(frames) // 2], frames[len(frames) // 2 :]):
            found = both.counted_by_kernel(dump, half), both.counted_by_us(text, half)
            if found[0] != found[1]:
                frames, counted = half, found
                break
        else:
            break
    numbered = "\n".join(f"{i:3} {line}" for i, line in enumerate(dump.split("\n"), 1))
    facts = engines.facts_of(engines.Frame(frames[0]))
    return f"{frames[0].hex()}\n{facts}\niptables {counted[0]}\nours     {counted[1]}\n{numbered}\n{text}"


@pytest.mark.parametrize("chain", ["INPUT", "FORWARD"])
@pytest.mark.parametrize("family", [4, 6])
def test_rule_sets_mean_what_the_kernel_makes_of_them(
    family: int, chain: str, bpffs: Path, tmp_path: Path
) -> None:
    compared(family, chain, range(2), bpffs, tmp_path)


@pytest.mark.exhaustive
@pytest.mark.parametrize("chain", ["INPUT", "FORWARD"])
@pytest.mark.parametrize("family", [4, 6])
def test_many_rule_sets_mean_what_the_kernel_makes_of_them(
    family: int, chain: str, bpffs: Path, tmp_path: Path
) -> None:
    compared(family, chain, range(1000, 1050), bpffs, tmp_path)
